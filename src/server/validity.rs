//! From when until when a certificate is valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// How long before its end a certificate should have been renewed: those that are renewed by a program are a
/// month before, and somebody must have time to see why it was not.
const MARGIN: Duration = Duration::from_secs(14 * 86_400);
/// Short-lived ones should be by the last so many-th of their time.
const SHARE: u32 = 3;

/// The time of a certificate (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before: SystemTime,
    /// Its end.
    pub not_after: SystemTime,
}

/// What is wrong with a certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Overdue {
    #[error("the certificate expired at {}", humantime::format_rfc3339_seconds(*.0))]
    Ended(SystemTime),
    #[error("the certificate is not valid before {}", humantime::format_rfc3339_seconds(*.0))]
    NotYet(SystemTime),
    #[error("the certificate expires at {}: renew it", humantime::format_rfc3339_seconds(*.0))]
    Soon(SystemTime),
}

impl Validity {
    /// Reads it from a certificate; nothing if that is written in a way that rustls does not read.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        // rustls tells these times to those only who ask whether a certificate is valid at another one, which is
        // what it looks at before all else.
        let refusal = |at: u64| {
            let (roots, at) = (RootCertStore::empty(), UnixTime::since_unix_epoch(Duration::from_secs(at)));
            match verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], at, &[]) {
                Err(Error::InvalidCertificate(refusal)) => Some(refusal),
                _ => None,
            }
        };
        let time = |time: UnixTime| UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
        let not_before = match refusal(0)? {
            CertificateError::NotValidYetContext { not_before, .. } => time(not_before)?,
            _ => UNIX_EPOCH,
        };
        match refusal(u64::MAX)? {
            CertificateError::ExpiredContext { not_after, .. } => {
                Some(Self { not_before, not_after: time(not_after)? })
            }
            _ => None,
        }
    }

    /// Tells whether something is to be done about it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(self, now: SystemTime) -> Result<(), Overdue> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_from_a_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2024, 1, 31);
        params.not_after = rcgen::date_time_ymd(2050, 2, 28);
        let certificate = params.self_signed(&key).expect("a certificate");
        let time = |text| humantime::parse_rfc3339(text).expect("a time");
        let expected =
            Validity { not_before: time("2024-01-31T00:00:00Z"), not_after: time("2050-02-28T00:00:00Z") };
        assert_eq!(Validity::of(certificate.der()), Some(expected));
        assert_eq!(Validity::of(&CertificateDer::from_slice(b"nonsense")), None);
    }

    #[test]
    fn says_what_is_to_be_done() {
        let day = |day: u64| UNIX_EPOCH + Duration::from_secs(day * 86_400);
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
