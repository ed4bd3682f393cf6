//! Names to addresses, by the system's resolver.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tower_service::Service;

/// Longest wait for an address: resolvers ask again after 5 s, so this hears at least a second server.
pub(super) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Lookups at once. Each takes a thread that cannot be called back, from a pool that also makes views: a name
/// server that is silent must not take them all.
const MAX_LOOKUPS: usize = 16;

/// Looks names up; clones share the bound.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    places: Arc<Semaphore>,
    look_up: fn(&str) -> io::Result<vec::IntoIter<SocketAddr>>,
}

impl Resolver {
    /// Makes one that asks the system.
    pub(super) fn new() -> Self {
        Self::with(|name| (name, 0).to_socket_addrs())
    }

    /// Makes one that asks `look_up`, which may block.
    pub(super) fn with(look_up: fn(&str) -> io::Result<vec::IntoIter<SocketAddr>>) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_LOOKUPS)), look_up }
    }

    async fn resolve(self, name: Name) -> io::Result<vec::IntoIter<SocketAddr>> {
        let place = self.places.acquire_owned().await.map_err(io::Error::other)?;
        let blocking = spawn_blocking(move || {
            // Whoever asked may be gone, but the thread is not.
            let _place = place;
            (self.look_up)(name.as_str())
        });
        blocking.await.map_err(io::Error::other)?
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = timeout(RESOLVE_TIMEOUT, self.clone().resolve(name));
        Box::pin(async { resolving.await.map_err(io::Error::from)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn name() -> Name {
        "upstream.example".parse().expect("a name")
    }

    #[tokio::test]
    async fn a_silent_name_server_takes_few_threads() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static OVER: AtomicUsize = AtomicUsize::new(0);
        let mut resolver = Resolver::with(|_| {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            while OVER.load(Ordering::SeqCst) == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(Vec::new().into_iter())
        });
        let crowd: Vec<_> = (0..100).map(|_| tokio::spawn(resolver.call(name()))).collect();
        // Whoever hangs up does not give its place to another: the thread is still taken.
        while BEGUN.load(Ordering::SeqCst) < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        crowd.iter().take(50).for_each(|client| client.abort());
        // One of the pool that is not a lookup gets its turn.
        spawn_blocking(|| ()).await.expect("a thread");
        assert_eq!(BEGUN.load(Ordering::SeqCst), MAX_LOOKUPS);
        OVER.store(1, Ordering::SeqCst);
        for client in crowd.into_iter().skip(50) {
            assert_eq!(client.await.expect("an end").expect("no error").count(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let mut resolver = Resolver::new();
        // No place will ever be free.
        let _places = Arc::clone(&resolver.places).acquire_many_owned(MAX_LOOKUPS as u32).await;
        let error = resolver.call(name()).await.expect_err("no address");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
