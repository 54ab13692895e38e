//! Tests the rotation of the secret key under load: no secret is lost, and the old key can be
//! removed.

use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;
use textback::secret::SecretKeys;
use textback::storage::agent;
use textback::storage::carrier_account::Accounts;

use crate::commands::{Running, printed, run};
use crate::harness::{AUTH_TOKEN, TestApp, id};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_re_encrypts_the_secrets_of_the_old_one() {
    let app = TestApp::new().await;
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    let made = app.ok(Method::POST, "/v1/agents", Some(service)).await;
    let (agent_id, first) = (id(&made["id"]), made["signing_secret"].as_str().expect("a secret").to_owned());
    let path = format!("/v1/agents/{agent_id}/signing-secret");
    let changed = app.ok(Method::POST, &path, None).await;
    let second = changed["signing_secret"].as_str().expect("a secret").to_owned();

    let (old, (new, new_text)) = (app.secret_key.clone(), SecretKeys::draw());
    let alone = printed(&run(&mut app.command("doctor", &new_text)));
    assert!(alone.contains("2 stored secrets were encrypted with key"), "{alone}");
    assert!(alone.contains("after a comma"), "{alone}");
    let both = format!("{new_text},{old}");
    let waiting = printed(&run(&mut app.command("doctor", &both)));
    assert!(waiting.contains("2 stored secrets wait for the new key"), "{waiting}");

    // A process that starts with both keys re-encrypts everything.
    let mut work = Running::start(&mut app.command("work", &both), false);
    work.until("encrypted with the new key");
    drop(work);
    let done = printed(&run(&mut app.command("doctor", &both)));
    assert!(done.contains("is not needed any more"), "{done}");
    let accounts = Accounts::new(app.storage.clone(), new.clone());
    let account = accounts.of_webhook_key(&app.webhook_key).await.expect("opens").expect("an account");
    assert_eq!(account.credentials.auth_token.expose_secret(), AUTH_TOKEN);
    let secrets = agent::signing_secrets(&app.storage, &new, agent_id).await.expect("opens");
    let secrets: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, [second.as_str(), first.as_str()], "the one before signs on");
    let again = textback::storage::key_rotation::re_encrypt(&app.storage, &both.parse().expect("keys"))
        .await
        .expect("an answer");
    assert_eq!(again, 0, "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_during_a_re_encryption_are_not_overwritten() {
    let app = TestApp::new().await;
    let (new, new_text) = SecretKeys::draw();
    let both: SecretKeys = format!("{new_text},{}", app.secret_key).parse().expect("keys");
    // Between reading and writing somebody puts other credentials.
    let read: (Vec<Option<Vec<u8>>>,) =
        sqlx::query_as("select array[auth_token, next_auth_token, api_key_secret] from carrier_account")
            .fetch_one(app.storage.pool())
            .await
            .expect("a row");
    let project_id: uuid::Uuid =
        sqlx::query_scalar("select id from project").fetch_one(app.storage.pool()).await.expect("a project");
    let mut account = (*Accounts::new(app.storage.clone(), both.clone())
        .of_project(project_id)
        .await
        .expect("opens")
        .expect("an account"))
    .clone();
    account.credentials.auth_token = "given-since".to_owned().into();
    Accounts::new(app.storage.clone(), both).put(&account).await.expect("written");
    let late = sqlx::query(include_str!("../../sql/queries/secret/account.sql"))
        .bind(project_id)
        .bind(&read.0)
        .bind(new.id())
        .bind(&read.0)
        .execute(app.storage.pool())
        .await
        .expect("an answer");
    assert_eq!(late.rows_affected(), 0, "what is not as it was read is left alone");
}

/// Whoever can write rows, but has no key, can't make a tenant use another one's secret, nor a
/// secret for something else.
#[tokio::test]
async fn an_encrypted_secret_that_is_copied_elsewhere_does_not_decrypt() {
    let app = TestApp::new().await;
    let key: SecretKeys = app.secret_key.parse().expect("a key");
    let account =
        json!({"account_sid": crate::harness::ACCOUNT_SID, "auth_token": AUTH_TOKEN, "next_auth_token": AUTH_TOKEN});
    app.ok(Method::PUT, "/v1/carrier", Some(account)).await;
    let mut agents = Vec::new();
    for name in ["one", "two"] {
        let service = json!({"name": name, "kind": "http", "url": "https://agent.example.com/"});
        agents.push(id(&app.ok(Method::POST, "/v1/agents", Some(service)).await["id"]));
    }
    let (other, _) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    let mine: uuid::Uuid = sqlx::query_scalar("select project_id from carrier_account")
        .fetch_one(app.storage.pool())
        .await
        .expect("a project");
    sqlx::query(
        "insert into carrier_account (project_id, carrier, account_sid, key_id, auth_token) select $1, carrier, account_sid, key_id, auth_token from carrier_account",
    )
    .bind(other.id)
    .execute(app.storage.pool())
    .await
    .expect("copied");
    let opens = async |project_id| {
        let found = Accounts::new(app.storage.clone(), key.clone()).of_project(project_id).await;
        found.map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = opens(other.id).await.expect_err("another project's");
    assert!(refused.contains("copied there from another row or column"), "{refused}");
    opens(mine).await.expect("its own");
    app.sql("update carrier_account set auth_token = next_auth_token, next_auth_token = auth_token where next_auth_token is not null").await;
    opens(mine).await.expect_err("another column's");

    let signing = async |agent_id| agent::signing_secrets(&app.storage, &key, agent_id).await.is_ok();
    assert!(signing(agents[0]).await && signing(agents[1]).await);
    app.sql(
        "update agent set signing_secret = (select signing_secret from agent other where other.id <> agent.id limit 1)",
    )
    .await;
    assert!(!signing(agents[0]).await && !signing(agents[1]).await, "another agent's");
    app.sql("update agent set signing_secret = (select auth_token from carrier_account limit 1)").await;
    assert!(!signing(agents[0]).await, "another table's");
    // A secret that does not decrypt is not re-encrypted.
    let (_, new) = SecretKeys::draw();
    let both: SecretKeys = format!("{new},{}", app.secret_key).parse().expect("keys");
    let renewed = textback::storage::key_rotation::re_encrypt(&app.storage, &both).await.expect("an answer");
    assert_eq!(renewed, 0);
}
