//! The commands and the catalog that they ask for: by platform.

use crate::proxy::{array, plesk};
use crate::tools::Session;
use crate::upstream::Upstream;

#[tokio::test]
async fn the_platform_is_that_of_the_servers() {
    let upstream =
        Upstream::with_feeds(array(&[plesk("docker"), plesk("xovi")]), "[{\"top_packages\":[]}]").await;
    let session = Session::new("extensions = [\"docker\"]\n");
    session.write("new.toml", "extensions = [\"xovi\"]\n");
    let mut asked = 0;
    for (line, platform) in [
        ("list", "unix"),
        ("list --platform unix", "unix"),
        ("list --platform windows", "windows"),
        ("explain docker --platform windows", "windows"),
        ("diff new.toml --platform windows", "windows"),
        ("check --platform windows", "windows"),
        ("allow xovi --platform windows", "windows"),
    ] {
        let mut command = session.command(line);
        command.env("CATALOG_PROXY_UPSTREAM", upstream.url());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        let requests = upstream.requests();
        let targets: Vec<_> = requests[asked..].iter().map(|request| request.target.as_str()).collect();
        let packages = format!("/api/v4/packages?platform={platform}&with-hidden&with-unstable");
        assert_eq!(targets[0], packages, "{line}");
        let part = format!("&platform={platform}&");
        assert!(targets[1..].iter().all(|target| target.contains(&part)), "{line}: {targets:?}");
        asked = requests.len();
    }
    assert_eq!(session.run("list --platform amiga").status.code(), Some(2));
    assert_eq!(session.run("serve --platform unix").status.code(), Some(2));
}
