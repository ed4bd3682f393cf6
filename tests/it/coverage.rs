//! A whitelist that the catalog hardly knows is taken, and warned about.

use serde_json::Value;

use crate::client::{get, until};
use crate::process::Process;
use crate::proxy::{Proxy, array, list, plesk};
use crate::upstream::{Upstream, ok};

const UNIX: &str = "/api/v4/packages?platform=unix";
const WINDOWS: &str = "/api/v4/packages?platform=windows";

/// A catalog of two platforms that have nothing in common.
async fn two_platforms() -> Upstream {
    Upstream::start(|request| {
        let codes = if request.target.contains("windows") { ["iis", "mssql"] } else { ["docker", "kolab"] };
        ok(array(&codes.map(plesk)).as_bytes())
    })
    .await
}

/// What was warned about, each warning as its message and codes.
fn warnings(process: &Process) -> Vec<String> {
    let lines: Vec<Value> = process.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warnings = lines.iter().filter(|line| line["level"] == "WARN");
    warnings.map(|line| format!("{}: {}", line["message"].as_str().unwrap(), line["codes"])).collect()
}

#[tokio::test]
async fn a_list_of_misspelled_codes_is_taken_and_warned_about() {
    let upstream = two_platforms().await;
    let process = Process::start_with(&upstream.url(), |_| ());
    process.edit(&list(&["docker", "iis"]));
    until("the list", async || process.log().contains("whitelist reloaded")).await;
    for target in [UNIX, WINDOWS] {
        get(process.address, target).await;
    }
    process.edit(&list(&["dokcer"]));
    until("a warning", async || process.log().contains("did you mean")).await;
    let hardly_known = "the catalog knows less than half of the whitelist's codes";
    // Half of the first list is in the other platform's feed only, which nobody minds.
    assert_eq!(warnings(&process), [format!("{hardly_known}: \"dokcer (did you mean docker?)\"")]);
    assert_eq!(get(process.address, UNIX).await.text(), "[]", "the list is in force");

    process.edit(&list(&["docker", "iis", "mssq"]));
    until("another warning", async || warnings(&process).len() == 2).await;
    let added = "the catalog does not know codes that were added to the whitelist";
    assert_eq!(warnings(&process)[1], format!("{added}: \"mssq (did you mean mssql?)\""));
}

#[tokio::test]
async fn the_metrics_count_the_codes_of_all_platforms() {
    let upstream = two_platforms().await;
    let proxy = Proxy::start_with(&upstream.url(), |_| ()).await;
    proxy.allow(&["docker", "iis", "xovi"]);
    proxy.get(UNIX).await;
    let absent = async |count: usize| {
        let line = format!("catalog_proxy_whitelist_absent_extensions{{shop=\"default\"}} {count}");
        get(proxy.admin, "/metrics").await.text().lines().any(|other| other == line)
    };
    until("the list and the feed", async || absent(2).await).await;
    proxy.get(WINDOWS).await;
    assert!(absent(1).await);
    proxy.stop().await;
}
