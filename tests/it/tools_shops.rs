//! The commands with several shops: `--shop`, and what is said about shops as a whole.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::tools::{Session, assert_played, text};

const DEFAULT: &str = "extensions = [\n  \"wp-toolkit\",\n]\n";
const GOLD: &str = "extensions = [\n  \"wp-toolkit\",\n  \"docker\", # for Bob\n]\nretired = [\"xovi\"]\nhosts = [\"gold.example\"]\n";
const SILVER: &str = "extensions = [\n  \"docker\",\n]\nhidden = [\"xovi\"]\n";

/// Makes a session with a shop at `/` and two others.
fn session() -> Session {
    let session = Session::new(DEFAULT);
    fs::create_dir(session.path("shops")).unwrap();
    session.write("shops/gold.toml", GOLD);
    session.write("shops/silver.toml", SILVER);
    session
}

fn shop(session: &Session, name: &str) -> String {
    fs::read_to_string(session.path(&format!("shops/{name}.toml"))).unwrap()
}

#[test]
fn shops_are_read_by_name() {
    let session = session();
    assert_played(
        "shop",
        &session.play(&[
            "list wp --shops shops --shop gold --feed packages.json",
            "list o --shops shops --shop gold,silver --retired --feed packages.json",
            "list xovi --shops shops --whitelist whitelist.toml --shop silver --shop default,silver --feed packages.json",
            "list xovi --shops shops --shop gold,silver --shown --format csv --feed packages.json",
            "list xovi --shops shops --shop gold,silver --retired --format csv --feed packages.json",
            "explain xovi --shops shops --shop gold --feed packages.json",
            "explain xovi --shops shops --whitelist whitelist.toml --shop default,silver --feed packages.json",
            "explain nothing --shops shops --shop gold --feed packages.json",
            "diff shops/silver.toml --shops shops --shop gold --feed packages.json",
            "diff whitelist.toml --shops shops --shop gold,silver --feed packages.json",
            "diff whitelist.toml shops/gold.toml --shops shops --shop gold --feed packages.json",
        ]),
    );
}

#[test]
fn the_shop_at_the_root_is_meant_without_a_name() {
    let session = session();
    session.write("proxy.toml", "shops = \"shops\"\nwhitelist = \"whitelist.toml\"\n");
    session.write("named.toml", "shops = \"shops\"\n");
    session.write("none.toml", "whitelist = \"off\"\n");
    session.write("shops/Iron.toml", "extensions = []\n");
    assert_played(
        "shop-names",
        &session.play(&[
            "list docker --config proxy.toml --feed packages.json",
            "explain xovi --config proxy.toml --shop silver --feed packages.json",
            "list docker --config named.toml --feed packages.json",
            "list docker --config named.toml --shop default --feed packages.json",
            "list docker --config none.toml --feed packages.json",
            "list docker --config none.toml --shop gold --feed packages.json",
            "hide docker --config proxy.toml --shop glod --feed packages.json",
            "hide docker --config proxy.toml --shop gold, --feed packages.json",
            "hide docker --config proxy.toml --shop Iron --feed packages.json",
            "hide docker --shop gold --feed packages.json",
            "hide docker --shops no-such --shop gold --feed packages.json",
        ]),
    );
    // A variable names the directory as well.
    let mut command = session.command("list xovi --shop silver --format csv --feed packages.json");
    let output = command.env("CATALOG_PROXY_SHOPS", "shops").output().unwrap();
    assert!(text(&output.stdout).ends_with(",silver\r\n"), "{output:?}");
}

#[test]
fn edits_of_several_shops_are_one() {
    let session = session();
    assert_played(
        "shop-edits",
        &session.play(&[
            "retire docker --shops shops --shop gold,silver --dry-run --feed packages.json",
            "hide docker git --shops shops --whitelist whitelist.toml --shop gold,silver,default --feed packages.json",
            "forget docker --shops shops --shop gold --feed packages.json",
            "allow docker --shops shops --shop gold,gold --feed packages.json",
        ]),
    );
    assert_eq!(shop(&session, "silver"), "extensions = [\n]\nhidden = [\"xovi\", \"docker\", \"git\"]\n");
    assert_eq!(
        session.whitelist(),
        "extensions = [\n  \"wp-toolkit\",\n]\nhidden = [\n  \"docker\", # Docker\n  \"git\", # Git\n]\n"
    );
    let names: Vec<_> =
        fs::read_dir(session.path("shops")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
}

#[test]
fn what_one_shop_refuses_changes_none() {
    let session = session();
    session.write("shops/iron.toml", "extensions = [\n");
    session.write("shops/copper.toml", "[[extensions]]\ncode = \"xovi\"\n");
    assert_played(
        "shop-refusals",
        &session.play(&[
            "retire docker dokcer --shops shops --shop gold,silver --feed packages.json",
            "forget xovvi --shops shops --shop gold,silver --feed packages.json",
            "retire docker --shops shops --shop gold,iron --feed packages.json",
            "retire docker --shops shops --shop gold,copper --feed packages.json",
            "retire docker --shops shops --shop gold,bronze --feed packages.json",
        ]),
    );
    assert_eq!([shop(&session, "gold"), shop(&session, "silver")], [GOLD, SILVER]);
}

/// Changes a flag of a file; false if this user or file system cannot.
fn chattr(change: &str, path: &Path) -> bool {
    Command::new("chattr").arg(change).arg(path).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_shop_that_cannot_be_written_does_not_hide_what_was_done() {
    let session = session();
    let file = session.path("shops/silver.toml");
    if !chattr("+i", &file) {
        return;
    }
    let output = session.run("retire wp-toolkit --shops shops --shop gold,silver --feed packages.json");
    assert!(chattr("-i", &file));
    assert_eq!(
        text(&output.stdout),
        "gold: wp-toolkit (WP Toolkit): retired now (was shown), shops/gold.toml:4\n"
    );
    let error = "catalog-proxy: cannot write shops/silver.toml: it is marked immutable; `chattr -i` makes it writable; \
                 edited before that: gold\n";
    assert_eq!(text(&output.stderr), error);
    assert_eq!((output.status.code(), shop(&session, "silver")), (Some(1), SILVER.to_owned()));
}

#[test]
fn panel_ini_knows_shops() {
    let session = session();
    assert_played(
        "shop-panel-ini",
        &session.play(&[
            "panel-ini --url http://10.20.30.40:8080 --shop gold",
            "panel-ini --url http://10.20.30.40:8080/ --shop default",
            "panel-ini --url http://10.20.30.40:8080 --shop golden",
            "panel-ini --url http://10.20.30.40:8080/gold",
            "panel-ini --url http://10.20.30.40:8080/gold --shop gold --env",
            "panel-ini --shop Gold",
            "panel-ini --shop api",
            "panel-ini --shop glod --shops shops",
            "panel-ini --shop silver --shops shops",
        ]),
    );
}

#[test]
fn shops_are_listed_with_what_is_wrong() {
    let session = session();
    let shops = "shops --feed packages.json";
    let mut played = session.play(&[
        shops,
        &format!("{shops} --shops shops"),
        &format!("{shops} --shops shops --whitelist whitelist.toml"),
        "shops --shops shops --upstream http://127.0.0.1:1",
    ]);
    session.write("shops/bronze.toml", "extensions = []\nhosts = [\"gold.example\", \"b.example\"]\n");
    session.write("shops/iron.toml", "extensions = [\n  1,\n]\n");
    session.write("shops/Gold.toml", "extensions = []\n");
    played += &session.play(&[
        &format!("{shops} --shops shops --whitelist no-such.toml"),
        &format!("{shops} --shops shops --format json"),
        &format!("{shops} --shops no-such"),
        "shops --feed no-such.json --shops shops",
        &format!("{shops} --whitelist off"),
    ]);
    assert_played("shops", &played);
}

#[test]
fn check_looks_at_all_shops() {
    let session = session();
    let check = "check --feed packages.json --shops shops";
    let mut played =
        session.play(&[check, &format!("{check} --whitelist whitelist.toml --url http://127.0.0.1:00001")]);
    session.write("shops/bronze.toml", "extensions = [\"dokcer\", \"git\"]\nhosts = [\"gold.example\"]\n");
    session.write("shops/iron.toml", "extensions = [\n  1,\n]\n");
    session.write("shops/Gold.toml", "extensions = []\n");
    session.write("shops/a-long-name.toml", "extensions = []\n");
    played += &session.play(&[
        &format!("{check} --whitelist whitelist.toml --url http://127.0.0.1:00001"),
        &format!("{check} --shop silver --url http://127.0.0.1:00001/silver"),
        &format!("{check} --shop bronze,silver --format json"),
        &format!("{check} --shop bornze"),
        "check --feed packages.json --shops no-such",
        "check --feed packages.json --whitelist off",
    ]);
    assert_played("shop-check", &played);
}
