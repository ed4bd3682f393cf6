//! The long-lived tasks of a service: none ends unseen.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::panics;

/// Pause before a task that panicked is started again: one that panics at once should not fill the log.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Tasks under way. A panic in one is counted under the task's name.
#[derive(Debug)]
pub(super) struct Tasks {
    metrics: Arc<Metrics>,
    running: JoinSet<EndedEarly>,
    /// Those that end by themselves, which nothing waits for.
    brief: JoinSet<Option<()>>,
}

/// A task that ended though it should run as long as the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndedEarly(pub(super) &'static str);

impl Tasks {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, running: JoinSet::new(), brief: JoinSet::new() }
    }

    /// Starts a task that the service cannot do without.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let panics = self.metrics.panics(name);
        self.running.spawn(async move {
            panics::catch_task(name, panics, task).await;
            EndedEarly(name)
        });
    }

    /// Starts a task that is made anew whenever it panics.
    pub(super) fn spawn_restarting<F>(
        &mut self,
        name: &'static str,
        mut make: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = self.metrics.panics(name);
        self.running.spawn(async move {
            while panics::catch_task(name, panics.clone(), make()).await.is_none() {
                sleep(RESTART_PAUSE).await;
            }
            EndedEarly(name)
        });
    }

    /// Starts a task that ends by itself, and that the service's end does not wait for.
    pub(super) fn spawn_brief(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let panics = self.metrics.panics(name);
        while self.brief.try_join_next().is_some() {}
        self.brief.spawn(panics::catch_task(name, panics, task));
    }

    /// Waits for a task to end that should not. Cancel safe.
    pub(super) async fn ended_early(&mut self) -> EndedEarly {
        loop {
            match self.running.join_next().await {
                Some(Ok(ended)) => return ended,
                // Their panics are caught, and nobody aborts them.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all but the brief ones have ended.
    pub(super) async fn finish(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::net::SocketAddr;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};

    use hyper::Request;
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::cli::LogFormat;
    use crate::server::{self, Connections, Quotas, listener};
    use crate::watch::{Watch, WatchedFiles};
    use crate::worker::Worker;
    use crate::{body, logging, sim, stderr};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_counted_and_ends_the_service() {
        let metrics = Arc::new(Metrics::default());
        let mut tasks = Tasks::new(Arc::clone(&metrics));
        tasks.spawn("good", std::future::pending());
        tasks.spawn_brief("brief", async {});
        tasks.spawn_brief("bad and brief", async { panic!("a test") });
        tokio::task::yield_now().await;
        tasks.spawn("bad", async { panic!("a test") });
        assert_eq!(tasks.ended_early().await, EndedEarly("bad"));
        let counted = ["good", "bad", "bad and brief"].map(|name| metrics.panics(name).get());
        assert_eq!(counted, [0, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_returns_is_missed_and_one_that_hangs_is_not() {
        let mut tasks = Tasks::new(Arc::default());
        tasks.spawn_brief("a reload of a file system that hangs", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.ended_early().await, EndedEarly("short"));
        tasks.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_can_be_made_anew_is() {
        let metrics = Arc::new(Metrics::default());
        let mut tasks = Tasks::new(Arc::clone(&metrics));
        let (sender, mut starts) = mpsc::unbounded_channel();
        let number = AtomicU64::new(0);
        tasks.spawn_restarting("task", move || {
            let (number, sender) = (number.fetch_add(1, Ordering::Relaxed), sender.clone());
            async move {
                sender.send(number).expect("a receiver");
                assert!(number > 1, "a test");
            }
        });
        assert_eq!(tasks.ended_early().await, EndedEarly("task"));
        assert_eq!(
            [starts.recv().await, starts.recv().await, starts.recv().await],
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!(metrics.panics("task").get(), 2);
    }

    /// Makes everything that runs in the background panic once, in the order of [`NAMES`].
    async fn make_all_panic(metrics: &Arc<Metrics>) {
        let mut tasks = Tasks::new(Arc::clone(metrics));
        tasks.spawn("task", async { panic!("in task") });
        tasks.ended_early().await;
        let worker = Worker::start("worker", 1, metrics.panics("worker"), |()| panic!("in worker"));
        let worker = worker.expect("a thread");
        worker.send(()).expect("room");
        assert!(worker.close(Duration::from_mins(1)), "it goes on after a panic");
        let panics = metrics.panics("watch");
        let watched =
            WatchedFiles { name: "watch", files: vec![], poll_interval: Duration::from_hours(1), panics };
        let watch = Watch::start(watched, |_| panic!("in watch"));
        watch.expect("a thread").reload().await;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listener::bind(any, &[any]).expect("a port");
        let address = listener.local_addr().expect("an address");
        let quotas = Quotas { total: 1, per_address: 1, exempt: vec![] };
        let port = metrics.connections.port("service");
        let connections = Connections::new(quotas, port, metrics.panics("connection"));
        let handler =
            async |_: Request<Incoming>, _| -> hyper::Response<body::Body> { panic!("in connection") };
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        tasks.spawn("accept", server::serve(listener, connections, None, handler, stopped));
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("room");
        assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
    }

    const NAMES: [&str; 4] = ["task", "worker", "watch", "connection"];
    const CHILD: &str = "app::tasks::tests::all_panic";

    #[tokio::test]
    #[ignore = "the next test runs it: hook and log are a process's own"]
    async fn all_panic() {
        panics::install_hook();
        logging::start(LogFormat::Json, None).expect("levels");
        let metrics = Arc::new(Metrics::default());
        make_all_panic(&metrics).await;
        let shown = metrics.encode(&crate::metrics::state::Snapshot::default()).expect("text");
        for name in NAMES {
            let line = format!("catalog_proxy_background_panics_total{{thread=\"{name}\"}} 1\n");
            assert!(shown.contains(&line), "{name}: {shown}");
        }
        assert!(shown.contains("catalog_proxy_panics_total 4\n"), "{shown}");
        stderr::finish();
    }

    #[test]
    fn each_panic_is_counted_and_logged_once_with_its_name() {
        let mut child = Command::new(env::current_exe().expect("a path"));
        child.args(["--ignored", "--exact", CHILD]).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        child.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = sim::spawn(&mut child).and_then(Child::wait_with_output).expect("a process");
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{out}{log}");
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
        let told: Vec<_> = lines.map(|line| (line["task"].to_string(), line["panic"].to_string())).collect();
        assert_eq!(told, NAMES.map(|name| (format!("{name:?}"), format!("\"in {name}\""))));
    }
}
