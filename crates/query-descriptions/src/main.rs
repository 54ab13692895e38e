//! Renews the descriptions of a project: starts a PostgreSQL of its own, installs the schema
//! and describes every checked statement. Run in the project's folder:
//! `query-descriptions SCHEMA [FOLDER_OF_POSTGRESQLS_PROGRAMS]`.

use std::error::Error;
use std::path::Path;

use dev_postgres::Postgres;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let schema = arguments.next().ok_or("say which schema the statements are for: query-descriptions SCHEMA")?;
    let programs = arguments.next().filter(|programs| !programs.is_empty());
    let data = std::env::temp_dir().join(format!("query-descriptions-{}", std::process::id()));
    std::fs::create_dir_all(&data)?;
    let described = describe(&schema, programs.as_deref(), &data).await;
    // Left behind, the folder would only take space.
    let _ = std::fs::remove_dir_all(&data);
    let (written, removed) = described?;
    println!("{written} descriptions written to .sqlx, {removed} removed");
    Ok(())
}

async fn describe(schema: &str, programs: Option<&str>, data: &Path) -> Result<(usize, usize), Box<dyn Error>> {
    let root = std::env::current_dir()?;
    let builder = Postgres::builder("descriptions").fallback_programs(root.join(".pg/bin")).setting("fsync", "off");
    let builder = match programs {
        Some(programs) => builder.programs(programs),
        None => builder,
    };
    let postgres = builder.start(data).await?;
    query_descriptions::install_schema(postgres.url(), schema, &root).await?;
    let statements = query_descriptions::checked_statements(&root)?;
    let descriptions = query_descriptions::describe(postgres.url(), schema, &statements).await?;
    postgres.stop();
    Ok(query_descriptions::write(&root.join(".sqlx"), &descriptions)?)
}
