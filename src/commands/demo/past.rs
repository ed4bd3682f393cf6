//! What happened to the demo's catalog before it started: a history for the page and for `catalog-proxy news`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cache_directory::CacheDirectory;
use crate::metrics::Metrics;
use crate::news::history::History;
use crate::news::{Change, Kind, SellerName};

const DAY: Duration = Duration::from_hours(24);

/// Creates a cache directory and writes the history into it. A failure leaves the demo without news.
pub(super) fn write(directory: &Path) {
    let directory = CacheDirectory::new(directory, &Metrics::default());
    directory.claim();
    let history = History::open(Some(directory));
    let now = SystemTime::now();
    let change = |kind, code: &str, name: &str, seller| Change {
        change: kind,
        code: code.to_owned(),
        renamed_from: None,
        name: Some(name.to_owned()),
        seller,
        was: None,
        whitelisted: false,
        shops: Vec::new(),
    };
    let switched = Change {
        was: Some(SellerName::Vendor),
        ..change(Kind::Switched, "email-security", "Email Security", SellerName::Plesk)
    };
    let renamed = Change {
        renamed_from: Some("seo-toolkit".to_owned()),
        whitelisted: true,
        ..change(Kind::Renamed, "xovi", "SEO-Werkzeugkasten", SellerName::Plesk)
    };
    let past = [
        (21, renamed),
        (9, change(Kind::Gone, "old-mailer", "Old Mailer", SellerName::Free)),
        (6, switched),
        (3, change(Kind::New, "site-speed-kit", "Speed Kit", SellerName::Plesk)),
        (1, change(Kind::New, "premium-dns", "Premium DNS", SellerName::Plesk)),
    ];
    for (days, change) in past {
        history.push("v4", now - days * DAY, &[change]);
    }
}
