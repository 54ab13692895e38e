//! The quotas of a claim: of each owner it takes the jobs that became due first, as many as its
//! quota.

use uuid::Uuid;

use crate::harness::TestApp;

#[tokio::test]
async fn a_claim_takes_of_each_owner_the_first_jobs_up_to_its_quota() {
    let app = TestApp::new().await;
    let [ada, bob, cid] = [1, 2, 3].map(Uuid::from_u128);
    let jobs = [ada, ada, bob, ada, cid, bob, ada];
    for (quotas, others, taken) in [
        (vec![], 9, vec![1, 2, 3, 4, 5, 6, 7]),
        (vec![], 1, vec![1, 3, 5]),
        (vec![], 0, vec![]),
        (vec![(ada, 2)], 9, vec![1, 2, 3, 5, 6]),
        (vec![(ada, 3), (bob, 1)], 0, vec![1, 2, 3, 4]),
        (vec![(cid, 5)], 2, vec![1, 2, 3, 5, 6]),
    ] {
        let (limited, of_limited): (Vec<Uuid>, Vec<i32>) = quotas.iter().copied().unzip();
        let found: Vec<i32> = sqlx::query_scalar("select job from within_quotas($1, $2, $3, $4) as job order by job")
            .bind(&jobs[..])
            .bind(limited)
            .bind(of_limited)
            .bind(others)
            .fetch_all(app.storage.pool())
            .await
            .expect("positions");
        assert_eq!(found, taken, "{quotas:?} {others}");
    }
    let nobody: Option<Vec<Uuid>> = None;
    let found: Vec<i32> = sqlx::query_scalar("select within_quotas($1, '{}', '{}', 9)")
        .bind(nobody)
        .fetch_all(app.storage.pool())
        .await
        .expect("positions");
    assert_eq!(found, [0; 0], "nothing is due");
}
