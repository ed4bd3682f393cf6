//! Log on standard error: one line an event, whatever its fields contain.

use std::env;
use std::fmt::{self, Write as _};
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::{LogFormat, tidy};
use crate::given::{Given, Source};
use crate::stderr::{LineWriter, Priority};
use crate::{printable, stderr};

/// Variable with the levels if no flag gives them, as in other Rust programs.
pub(crate) const VARIABLE: &str = "RUST_LOG";

/// Level without a flag and a variable.
pub(crate) const DEFAULT_LEVEL: &str = "info";

/// Name of the field that has an event's text.
const MESSAGE: &str = "message";

/// Longest string in a line of JSON that would be too long: with every character escaped, a dozen still fit.
const MAX_LONG_STRING: usize = 512;

/// Error about levels that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {}", self.message())]
pub(crate) struct LevelError {
    /// Source of the levels.
    pub(crate) at: Source,
    directive: String,
}

impl LevelError {
    /// Formats the description of the error.
    pub(crate) fn message(&self) -> String {
        let Self { directive, .. } = self;
        format!("{directive:?} is no level; expected error, warn, info, debug, trace, off or target=level")
    }
}

/// Starts logging at the levels that `level` gives, else at `RUST_LOG`'s, else at `info`. Does nothing the
/// second time.
///
/// # Errors
/// If the levels cannot be parsed.
pub(crate) fn start(format: LogFormat, level: Option<&Given<String>>) -> Result<(), LevelError> {
    let filter = levels(level)?;
    stderr::set_notice(match format {
        LogFormat::Text => text_notice,
        LogFormat::Json => json_notice,
    });
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        // It would be told by `eprintln!`, which may panic and block.
        .log_internal_errors(false)
        .with_ansi(stderr::is_colored())
        .with_target(false);
    // It fails only if a subscriber is set already, and then that one is wanted.
    let _ = match format {
        // The journal has times of its own.
        LogFormat::Text if stderr::is_journal() => lines.without_time().fmt_fields(OneLine).try_init(),
        LogFormat::Text => lines.fmt_fields(OneLine).try_init(),
        LogFormat::Json => {
            let format = Format::default().json().flatten_event(true).with_target(false);
            lines.fmt_fields(JsonFields::new()).event_format(PlainJson(format)).try_init()
        }
    };
    Ok(())
}

/// Returns the levels that [`start`] uses.
///
/// # Errors
/// If they cannot be parsed.
pub(crate) fn levels(level: Option<&Given<String>>) -> Result<EnvFilter, LevelError> {
    let variable = tidy(VARIABLE);
    match (level, variable) {
        (Some(level), _) => filter(&level.source, &our_own(level)),
        (None, Some(levels)) => filter(&Source::Variable(VARIABLE.to_owned()), &levels.to_string_lossy()),
        (None, None) => Ok(EnvFilter::new(DEFAULT_LEVEL)),
    }
}

/// Applies a bare level to this program only: at `debug`, the libraries log every frame of HTTP/2. `trace` includes
/// them.
fn our_own(levels: &str) -> String {
    let (own, crates) = (env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    match levels.trim().parse::<LevelFilter>() {
        Ok(level) if level == LevelFilter::DEBUG => format!("{crates},{own}={level}"),
        _ => levels.to_owned(),
    }
}

fn filter(source: &Source, levels: &str) -> Result<EnvFilter, LevelError> {
    for directive in levels.split(',').map(str::trim) {
        // A bare word that is no level would be taken for a module, and nothing logged but that.
        let understood = match directive.contains(['=', '[']) {
            true => EnvFilter::try_new(directive).is_ok(),
            // Nothing at all would be `error`.
            false => !directive.is_empty() && directive.parse::<LevelFilter>().is_ok(),
        };
        if !understood {
            return Err(LevelError { at: source.clone(), directive: directive.to_owned() });
        }
    }
    let levels: String = levels.chars().filter(|c| !c.is_whitespace()).collect();
    EnvFilter::try_new(&levels).map_err(|_| LevelError { at: source.clone(), directive: levels })
}

/// Makes the writer of a line, which tells the journal its priority.
#[derive(Debug, Clone, Copy)]
struct Lines;

impl<'writer> MakeWriter<'writer> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'writer self) -> LineWriter {
        LineWriter(Priority::Info)
    }

    fn make_writer_for(&'writer self, meta: &Metadata<'_>) -> LineWriter {
        LineWriter(match *meta.level() {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            Level::DEBUG | Level::TRACE => Priority::Debug,
        })
    }
}

/// Message of the notice about lost lines.
const LOST: &str = "log lines were lost, because standard error did not take them";

fn text_notice(lost: u64) -> String {
    match stderr::is_journal() {
        true => format!("<{}> WARN {LOST} lost={lost}\n", Priority::Warning as u8),
        false => format!("{}  WARN {LOST} lost={lost}\n", now()),
    }
}

fn json_notice(lost: u64) -> String {
    let line = json!({ "timestamp": now().to_string(), "level": "WARN", "message": LOST, "lost": lost });
    let priority =
        if stderr::is_journal() { format!("<{}>", Priority::Warning as u8) } else { String::new() };
    format!("{priority}{line}\n")
}

/// Formats the current time for the start of a line.
fn now() -> impl fmt::Display {
    humantime::format_rfc3339_micros(SystemTime::now())
}

/// Formatter of fields as text: `name=value`, the value in quotes if it would else not be told from what follows.
///
/// SECURITY: targets and what the upstream sends are in log lines. A line feed in them would forge a line, a
/// control sequence rewrite one; what is not plain is escaped.
#[derive(Debug, Clone, Copy)]
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = FieldsOfLine::default();
        fields.record(&mut line);
        writer.write_str(&line.0)
    }
}

/// Fields of one line, as they are recorded.
#[derive(Debug, Default)]
struct FieldsOfLine(String);

impl FieldsOfLine {
    fn add(&mut self, field: &Field, value: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        if field.name() == MESSAGE {
            self.0 += &printable::escaped(value);
        } else {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{}={}", field.name(), printable::log_value(value));
        }
    }
}

impl Visit for FieldsOfLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Lines of JSON, which may have any character but ASCII's controls in their strings, with the same ones escaped.
#[derive(Debug)]
struct PlainJson(Format<Json>);

impl<S, N> FormatEvent<S, N> for PlainJson
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let mut line = printable::escaped_json(&line);
        if line.len() > stderr::MAX_LINE_LEN {
            line = shortened(&line).unwrap_or(line);
        }
        writer.write_str(&line)
    }
}

/// Shortens the long strings in a line of JSON, which would else be cut and be no JSON any more.
fn shortened(line: &str) -> Option<String> {
    let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
    for value in fields.values_mut() {
        if let Value::String(text) = value
            && text.len() > MAX_LONG_STRING
        {
            let end = text.floor_char_boundary(MAX_LONG_STRING);
            *text = format!("{}… ({} bytes cut)", &text[..end], text.len() - end);
        }
    }
    let line = serde_json::to_string(&fields).ok()?;
    Some(printable::escaped_json(&line) + "\n")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    fn flag() -> Source {
        Source::Flag("--log-level")
    }

    #[test]
    fn levels_that_make_no_sense_are_named() {
        for levels in
            ["info", "DEBUG", "off", "catalog_proxy=debug,hyper=warn", "info, hyper=debug", "a[b]=info"]
        {
            filter(&flag(), levels).expect(levels);
        }
        for (levels, directive) in [
            ("debg", "debg"),
            ("info,hyper", "hyper"),
            ("a=b", "a=b"),
            ("a=debug=x", "a=debug=x"),
            ("info,", ""),
        ] {
            let error = filter(&flag(), levels).expect_err(levels).to_string();
            assert!(
                error.starts_with(&format!("--log-level: {directive:?} is no level; expected ")),
                "{error}"
            );
        }
    }

    #[test]
    fn debug_is_about_this_program() {
        assert_eq!(our_own("debug"), "info,catalog_proxy=debug");
        assert_eq!(our_own("warn"), "warn");
        assert_eq!(our_own("trace"), "trace");
        assert_eq!(our_own("hyper=debug"), "hyper=debug");
    }

    #[test]
    fn long_lines_of_json_stay_json() {
        let long = "ü\u{1b}".repeat(stderr::MAX_LINE_LEN);
        let line = json!({ "level": "INFO", "status": 200, "path": long }).to_string();
        let short = shortened(&line).expect("JSON");
        assert!(short.len() < stderr::MAX_LINE_LEN && short.ends_with("}\n"), "{short}");
        let fields: Map<String, Value> = serde_json::from_str(&short).expect("JSON");
        assert_eq!((&fields["level"], &fields["status"]), (&"INFO".into(), &200.into()));
        let cut = fields["path"].as_str().expect("text");
        let start = cut.strip_suffix(&format!("… ({} bytes cut)", long.len() - 512)).expect(cut);
        assert_eq!(start, &long[..512]);
    }

    #[test]
    fn a_loss_is_told_in_either_format() {
        let text = text_notice(3);
        assert!(text.starts_with("20") && text.ends_with(&format!("Z  WARN {LOST} lost=3\n")), "{text}");
        let fields: Map<String, Value> = serde_json::from_str(&json_notice(3)).expect("JSON");
        assert_eq!(
            (&fields["level"], &fields["message"], &fields["lost"]),
            (&"WARN".into(), &LOST.into(), &3.into())
        );
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_in_an_event_breaks_its_line() {
        for ansi in [false, true] {
            let lines = Written::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .with_ansi(ansi)
                .without_time()
                .with_level(false)
                .with_target(false)
                .fmt_fields(OneLine)
                .finish();
            let bad = "a\nb\rc\u{1b}[2Jd\u{9b}e\u{85}f\u{2028}g\u{202e}h\té";
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(shown = %bad, quoted = bad, "{bad}");
            });
            let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
            let (line, rest) = text.split_once('\n').expect("a line");
            assert_eq!(rest, "");
            assert!(line.chars().all(printable::is_plain), "{line:?}");
            assert!(line.contains(r"shown=a\nb\rc\u{1b}[2Jd\u{9b}e\u{85}f\u{2028}g\u{202e}h\té"), "{line}");
        }
    }

    #[test]
    fn a_value_has_one_spelling() {
        let lines = Written::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(false)
            .fmt_fields(OneLine)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let shop = "gold";
            tracing::info!(shop, other = %shop, third = ?Some(1), codes = "a, b", none = "", n = 1, at = 1.5, "told");
            tracing::info!(error = %"\"x\" is odd", key = "a=b", flag = true, "a message = text");
        });
        assert_eq!(
            String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text"),
            "told shop=gold other=gold third=Some(1) codes=\"a, b\" none=\"\" n=1 at=1.5\n\
             a message = text error=\"\\\"x\\\" is odd\" key=\"a=b\" flag=true\n"
        );
    }
}
