//! What this program says about itself: its version, and the commit that it was built from (`build.rs`).

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Short id of the commit, with `-dirty` behind it if files had changed; `None` where the build did not know it.
pub const REVISION: Option<&str> = option_env!("BUILD_REVISION");

/// Version with commit and day, as `--version` prints it.
pub const VERSION_WITH_REVISION: &str = env!("BUILD_VERSION");
