//! Edits over the admin port: in force when answered, nothing lost, nothing overwritten, all in the log.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::admin_port::{AdminPort, body, show};
use crate::client::until;
use crate::proxy::{array, free, list, plesk, vendor};

#[tokio::test]
async fn an_edit_is_in_force_when_it_is_answered() {
    let port = AdminPort::start().await;
    fs::write(port.proxy.whitelist(), "# ours\nextensions = [\n  \"docker\", # for Bob\n]\n").unwrap();
    until("the comment is in force", async || {
        let text = port.list();
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        port.digest("default").await == hex
    })
    .await;
    let before = port.list();
    let digest = port.digest("default").await;
    let wanted = json!({ "show": ["xovi"], "retire": ["docker"], "hide": ["git"], "note": " spring \n" });
    let answer = port.edit(&digest, &wanted).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(port.shown("").await, array(&[plesk("xovi"), vendor("juggernaut")]));
    let edited = body(&answer);
    let new = edited["digest"].as_str().unwrap();
    assert_eq!(answer.header("etag"), format!("\"{new}\""));
    assert_eq!(port.digest("default").await, new);
    let text = port.list();
    assert!(
        text.starts_with("# ours\nextensions = [") && text.contains("# for Bob") && !text.contains("spring"),
        "{text}"
    );
    let log = port.log();
    let edit = log.last().unwrap();
    assert_eq!(
        (&edit["by"], &edit["from"], &edit["note"]),
        (&json!("alice"), &json!("127.0.0.1"), &json!("spring"))
    );
    assert_eq!(
        (&edit["show"], &edit["retire"], &edit["hide"], &edit["forget"]),
        (&json!(["xovi"]), &json!(["docker"]), &json!(["git"]), &json!([]))
    );
    assert_eq!((&edit["before"], &edit["after"]), (&json!(digest), &json!(new)));
    assert_eq!(edited["edit"]["id"], edit["id"]);

    // The same again changes nothing, and is no line.
    assert_eq!(port.edit(new, &wanted).await.status, 200);
    assert_eq!(port.log().len(), log.len());

    // Undone, the file is as it was, byte for byte.
    let undo = format!("/api/v1/edits/{}/undo", edit["id"].as_str().unwrap());
    assert_eq!(port.change(&undo, &digest, &json!({})).await.status, 412);
    let answer = port.change(&undo, new, &json!({ "note": "no" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(port.list(), before);
    assert_eq!(port.shown("").await, array(&[plesk("docker"), free("git"), vendor("juggernaut")]));
    assert_eq!(port.log().last().unwrap()["undoes"], edit["id"]);
    let now = port.digest("default").await;
    assert_eq!(port.change(&undo, &now, &json!({})).await.status, 409, "once is enough");
    assert_eq!(port.change("/api/v1/edits/0/undo", &now, &json!({})).await.status, 404);
    // An undo is an edit that can be taken back too.
    let redo = format!("/api/v1/edits/{}/undo", port.log().last().unwrap()["id"].as_str().unwrap());
    assert_eq!(port.change(&redo, &now, &json!({})).await.status, 200);
    assert_eq!(port.list(), text);
    let edits = body(
        &port
            .call(
                "GET",
                "/api/v1/edits?shop=default",
                &[("authorization", &format!("Bearer {}", crate::admin_port::EDITOR))],
                "",
            )
            .await,
    );
    let by: Vec<_> =
        edits["edits"].as_array().unwrap().iter().map(|edit| edit["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["file", "alice", "alice", "alice"]);
}

#[tokio::test]
async fn an_undo_leaves_later_edits_alone() {
    let port = AdminPort::start().await;
    let mut digest = port.digest("default").await;
    for code in ["xovi", "git"] {
        let answer = port.edit(&digest, &json!({ "retire": [code] })).await;
        digest = body(&answer)["digest"].as_str().unwrap().to_owned();
    }
    let log = port.log();
    let undo = |edit: &Value| format!("/api/v1/edits/{}/undo", edit["id"].as_str().unwrap());
    let answer = port.change(&undo(&log[0]), &digest, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(port.list().contains("git") && !port.list().contains("xovi"), "{}", port.list());
    // One that was overtaken: the code stands elsewhere now.
    let digest = port.digest("default").await;
    let answer = port.edit(&digest, &json!({ "hide": ["git"] })).await;
    let digest = body(&answer)["digest"].as_str().unwrap().to_owned();
    let before = port.list();
    assert_eq!(port.change(&undo(&log[1]), &digest, &json!({})).await.status, 409);
    assert_eq!(port.list(), before);
}

#[tokio::test]
async fn each_shop_has_its_own_list() {
    let port = AdminPort::start().await;
    // The digest of another shop's list is no condition that holds.
    let other = port.digest("default").await;
    assert_eq!(port.edit(&other, &json!({ "shop": "gold", "show": ["docker"] })).await.status, 412);
    let digest = port.digest("gold").await;
    let answer = port.edit(&digest, &json!({ "shop": "gold", "show": ["docker"], "forget": ["xovi"] })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(port.shown("/gold").await, array(&[plesk("docker"), free("git"), vendor("juggernaut")]));
    assert_eq!(port.list(), list(&["docker"]));
}

#[tokio::test]
async fn what_was_not_seen_is_not_overwritten() {
    let port = AdminPort::start().await;
    let digest = port.digest("default").await;
    let by_hand = "# by hand\nextensions = [\"docker\", \"xovi\"]\n";
    fs::write(port.proxy.whitelist(), by_hand).unwrap();
    let answer = port.edit(&digest, &json!({ "hide": ["git"] })).await;
    assert_eq!(answer.status, 412, "{answer:?}");
    let difference = body(&answer);
    assert_eq!(difference["changes"][0]["code"], "xovi");
    let current = difference["digest"].as_str().unwrap().to_owned();
    assert_eq!(port.list(), by_hand);
    // With what is there now it goes on, also before the hand edit is in force.
    assert_eq!(port.edit(&current, &json!({ "hide": ["git"] })).await.status, 200);
    assert!(port.list().starts_with("# by hand") && port.list().contains("git"));
    let by: Vec<_> = port.log().iter().map(|edit| edit["by"].as_str().unwrap().to_owned()).collect();
    assert!(by.contains(&"alice".to_owned()), "{by:?}");
}

/// Makes an edit with as many attempts as it takes, each based on what the last answer named.
async fn insist(port: &AdminPort, wanted: &Value) {
    let mut digest = port.digest("default").await;
    loop {
        let answer = port.edit(&digest, wanted).await;
        let told = body(&answer);
        match answer.status.as_u16() {
            200 => return,
            412 => digest = told["digest"].as_str().unwrap().to_owned(),
            other => panic!("{other}: {told}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_lose_nothing() {
    let codes: Vec<String> = (0..50).map(|n| format!("code-{n}")).collect();
    let catalog = array(&codes.iter().map(|code| plesk(code)).collect::<Vec<_>>());
    let port = Arc::new(AdminPort::over(&catalog, |_, _| ()).await);
    fs::write(port.path("packages.json"), catalog).unwrap();
    fs::write(port.proxy.whitelist(), "# kept\nextensions = [\"docker\", # Bob's\n]\n").unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for (n, code) in codes.iter().enumerate() {
        let (port, code) = (Arc::clone(&port), code.clone());
        writers.spawn(async move {
            // Every tenth is somebody with a command.
            if n % 10 == 0 {
                let (file, feed) = (port.proxy.whitelist(), port.path("packages.json"));
                let edit = tokio::task::spawn_blocking(move || {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
                    command.args(["hide", &code, "--whitelist"]).arg(file).arg("--feed").arg(feed);
                    command.output().unwrap()
                });
                let output = edit.await.unwrap();
                assert!(output.status.success(), "{output:?}");
            } else {
                insist(&port, &json!({ "hide": [code] })).await;
            }
        });
    }
    while let Some(result) = writers.join_next().await {
        result.unwrap();
    }
    let text = port.list();
    let missing: Vec<_> = codes.iter().filter(|code| !text.contains(&format!("{code:?}"))).collect();
    assert!(missing.is_empty(), "{missing:?} in {text}");
    assert!(text.starts_with("# kept\n") && text.contains("# Bob's"));
    // The log's chain leads from digest to digest.
    let log = port.log();
    for pair in log.windows(2) {
        assert_eq!(pair[0]["after"], pair[1]["before"], "{log:#?}");
    }
    assert_eq!(log.iter().filter(|edit| edit["by"] == "alice").count(), 45);
}

#[tokio::test]
async fn a_file_that_cannot_be_edited_is_told_with_its_place() {
    let port = AdminPort::start().await;
    let digest = port.digest("default").await;
    let file = port.proxy.whitelist();
    fs::write(&file, "extensions = [\"docker\"\nhidden = 1").unwrap();
    let answer = port.edit(&digest, &show("xovi")).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(body(&answer)["detail"].as_str().unwrap().contains("whitelist.toml:2:"), "{answer:?}");
    fs::remove_file(&file).unwrap();
    let answer = port.edit(&digest, &show("xovi")).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(body(&answer)["detail"].as_str().unwrap().contains("whitelist.toml"), "{answer:?}");
    assert!(!file.exists());
    // The last good list still stands, and can be read.
    assert_eq!(port.digest("default").await, digest);
    fs::write(&file, list(&["docker"])).unwrap();
    assert_eq!(port.edit(&digest, &show("xovi")).await.status, 200);
}

#[tokio::test]
async fn an_edit_that_cannot_be_logged_is_not_made() {
    let port = AdminPort::start().await;
    let digest = port.digest("default").await;
    // No process, whatever its user, can write a file whose name is a directory's.
    fs::create_dir(port.path("cache/edits.jsonl")).unwrap();
    let answer = port.edit(&digest, &show("xovi")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(port.list(), list(&["docker"]));
    fs::remove_dir(port.path("cache/edits.jsonl")).unwrap();
    assert_eq!(port.edit(&digest, &show("xovi")).await.status, 200);
    assert_eq!(port.log().len(), 1);
}

#[tokio::test]
async fn without_a_cache_directory_edits_are_kept_in_memory() {
    let port = AdminPort::start_with(|config, _| config.cache_dir = None).await;
    let digest = port.digest("default").await;
    assert_eq!(port.edit(&digest, &show("xovi")).await.status, 200);
    let token = format!("Bearer {}", crate::admin_port::EDITOR);
    let edits = body(&port.call("GET", "/api/v1/edits", &[("authorization", &token)], "").await);
    assert_eq!((&edits["kept"], &edits["edits"][0]["by"]), (&json!("memory"), &json!("alice")));
}
