//! Period of validity of a certificate, and when to warn about it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// How long before its end a certificate should have been renewed: those that are renewed by a program are a
/// month before, and somebody must have time to see why it was not.
const MARGIN: Duration = Duration::from_hours(14 * 24);
/// Short-lived ones should be by the last so many-th of their time.
const SHARE: u32 = 3;

/// The time of a certificate (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: SystemTime,
    /// Its end.
    pub(super) not_after: SystemTime,
}

/// What is wrong with a certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overdue {
    #[error("the certificate expired at {}", humantime::format_rfc3339_seconds(*.0))]
    Ended(SystemTime),
    #[error("the certificate is not valid before {}", humantime::format_rfc3339_seconds(*.0))]
    NotYet(SystemTime),
    #[error("the certificate expires at {}: renew it", humantime::format_rfc3339_seconds(*.0))]
    Soon(SystemTime),
}

impl Validity {
    /// Reads the period of validity of a certificate; nothing if x509-parser cannot read the certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self {
            not_before: system_time(validity.not_before)?,
            not_after: system_time(validity.not_after)?,
        })
    }

    /// Checks whether the certificate is valid and far enough from its end.
    ///
    /// # Errors
    /// If it is not valid at `now`, or should have been renewed.
    pub(super) fn check(self, now: SystemTime) -> Result<(), Overdue> {
        let Self { not_before, not_after } = self;
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        if now < not_before {
            return Err(Overdue::NotYet(not_before));
        }
        match not_after.duration_since(now) {
            Err(_) => Err(Overdue::Ended(not_after)),
            Ok(left) if left < MARGIN.min(lifetime / SHARE) => Err(Overdue::Soon(not_after)),
            Ok(_) => Ok(()),
        }
    }
}

fn system_time(time: ASN1Time) -> Option<SystemTime> {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    if time.timestamp() < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_from_a_certificate() {
        let check = |from: (i32, u8, u8), until: (i32, u8, u8), expected: [&str; 2]| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
            params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            let certificate = params.self_signed(&key).expect("a certificate");
            let [not_before, not_after] =
                expected.map(|text| humantime::parse_rfc3339(text).expect("a time"));
            assert_eq!(Validity::of(certificate.der()), Some(Validity { not_before, not_after }));
        };
        check((2024, 1, 31), (2050, 2, 28), ["2024-01-31T00:00:00Z", "2050-02-28T00:00:00Z"]);
        check((1970, 1, 1), (9999, 12, 31), ["1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z"]);
        assert_eq!(Validity::of(&CertificateDer::from_slice(b"nonsense")), None);
    }

    #[test]
    fn says_what_is_to_be_done() {
        let day = |day: u64| UNIX_EPOCH + Duration::from_hours(day * 24);
        let check = |from, until, now, expected: Result<(), Overdue>| {
            let validity = Validity { not_before: day(from), not_after: day(until) };
            assert_eq!(validity.check(day(now)), expected, "{from} to {until} at {now}");
        };
        check(10, 100, 9, Err(Overdue::NotYet(day(10))));
        check(10, 100, 10, Ok(()));
        check(10, 100, 86, Ok(()));
        check(10, 100, 87, Err(Overdue::Soon(day(100))));
        check(10, 100, 101, Err(Overdue::Ended(day(100))));
        check(10, 16, 14, Ok(()));
        check(10, 16, 15, Err(Overdue::Soon(day(16))));
        let message = "the certificate expires at 1970-01-17T00:00:00Z: renew it";
        assert_eq!(Overdue::Soon(day(16)).to_string(), message);
    }
}
