//! Tells cargo which files belong to the binary, and the macros of sqlx to read what they check from `.sqlx`. It never
//! generates code.

fn main() {
    for folder in ["migrations", "sql", ".sqlx"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    // DATABASE_URL is a setting of textback. A build must not connect to that database.
    println!("cargo:rustc-env=SQLX_OFFLINE=true");
}
