//! Writes `.sqlx` anew: starts a PostgreSQL of its own, installs the schema and describes every checked statement.

use std::error::Error;
use std::path::Path;

use dev_postgres::Postgres;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let data = std::env::temp_dir().join(format!("query-descriptions-{}", std::process::id()));
    std::fs::create_dir_all(&data)?;
    let described = describe(&root, &data).await;
    // Left behind, the folder would only take space.
    let _ = std::fs::remove_dir_all(&data);
    let (written, removed) = described?;
    println!("{written} descriptions written to .sqlx, {removed} removed");
    Ok(())
}

async fn describe(root: &Path, data: &Path) -> Result<(usize, usize), Box<dyn Error>> {
    let builder = Postgres::builder("textback").fallback_programs(root.join(".pg/bin")).setting("fsync", "off");
    let builder = match std::env::var_os("TEXTBACK_PG_BIN") {
        Some(programs) => builder.programs(programs),
        None => builder,
    };
    let postgres = builder.start(data).await?;
    query_descriptions::install_schema(postgres.url(), root).await?;
    let statements = query_descriptions::checked_statements(root)?;
    let descriptions = query_descriptions::describe(postgres.url(), &statements).await?;
    postgres.stop();
    Ok(query_descriptions::write(&root.join(".sqlx"), &descriptions)?)
}
