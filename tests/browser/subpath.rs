//! The page below a path of nginx, as many publish it.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command};

use crate::browser::Browser;
use crate::site::{EDITOR, Setup};

/// An nginx that passes `/panel` on. It ends with the test.
struct Nginx {
    child: Child,
    origin: String,
    _directory: tempfile::TempDir,
}

impl Nginx {
    fn start(admin: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Without the slash at its end the path is handed on as `/`, so that the page itself has to find its place.
        let configuration = format!(
            "daemon off; pid nginx.pid; error_log stderr; events {{}}
             http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
                     uwsgi_temp_path u; scgi_temp_path s;
               server {{ listen 127.0.0.1:{port};
                 location = /panel {{ proxy_pass {admin}/; proxy_set_header Host $http_host; }}
                 location /panel/ {{ proxy_pass {admin}/; proxy_set_header Host $http_host; }} }} }}"
        );
        fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        let child = command.spawn().expect("nginx: install nginx-light");
        Self { child, origin: format!("http://127.0.0.1:{port}"), _directory: directory }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn it_works_below_a_path_with_and_without_a_slash() {
    let site = Setup::default().start().await;
    let nginx = Nginx::start(&site.origin);
    let browser = Browser::start(&nginx.origin, 1440).await;
    for path in ["panel/", "panel"] {
        browser.open_when_there(&format!("{path}#token={EDITOR}")).await;
        browser.until_text("alice").await;
        browser.until_text("Alpha Backup").await;
        assert_eq!(browser.eval("location.href").await, format!("{}/panel/#catalog", nginx.origin));
    }
    browser.until("document.querySelector('.packages label.show')").await;
    browser.eval("[...document.querySelectorAll('.packages label.show')][1].click()").await;
    browser.click("#tray button", "Review").await;
    browser.click("dialog button", "Apply").await;
    browser.until_text("the new list of gold is in force").await;
    assert!(site.list("gold").contains("\"beta\""));
    // What the browser began to load beside the path before the page found its place.
    browser.finish_with(&[], &["/assets/"]).await;
}
