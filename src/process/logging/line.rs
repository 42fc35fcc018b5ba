//! A line of the log: what an event says, cut and with control characters written out, whatever form it then takes. Nothing that
//! came from elsewhere ends a line, moves a cursor or makes a line long. Pure.

use std::fmt::{self, Write};

use adapters::{Escaped, printable};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Characters of a message; those with a problem of the configuration in it are the longest.
const MESSAGE_MAX: usize = 2000;
/// Characters of another field.
const FIELD_MAX: usize = 400;

#[derive(Debug)]
pub(super) struct Line {
    level: Level,
    target: String,
    message: String,
    fields: Vec<(&'static str, Said)>,
}

/// What a field says.
#[derive(Debug, PartialEq)]
enum Said {
    /// A text: in quotation marks for people.
    Text(String),
    /// Something that is shown as it shows itself.
    Shown(String),
    Number(Value),
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Line {
        let metadata = event.metadata();
        let mut line = Line {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    /// Adds what the log itself has to say.
    pub(super) fn add(&mut self, name: &'static str, number: u64) {
        self.fields.push((name, Said::Number(number.into())));
    }

    fn put(&mut self, field: &Field, said: Said) {
        let name = field.name();
        match (name, said) {
            ("message", Said::Text(text) | Said::Shown(text)) => self.message = text,
            // Of the crate `log`.
            ("log.target", Said::Text(text) | Said::Shown(text)) => self.target = text,
            (name, _) if name.starts_with("log.") => {}
            (name, said) => self.fields.push((name, said)),
        }
    }

    /// For people. `time` is RFC 3339.
    pub(super) fn human(&self, time: &str, colours: bool) -> String {
        let level = self.level.as_str();
        let (dim, colour, end) = if colours {
            ("\u{1b}[2m", colour(self.level), "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        format!(
            "{dim}{time}{end} {colour}{level:>5}{end} {}\n",
            self.sentence()
        )
    }

    /// The message and its fields.
    pub(super) fn sentence(&self) -> String {
        let mut text = self.message.clone();
        for (name, said) in &self.fields {
            let written = match said {
                Said::Text(said) => write!(text, " {name}=\"{}\"", said.replace('"', "\\\"")),
                Said::Shown(said) => write!(text, " {name}={said}"),
                Said::Number(said) => write!(text, " {name}={said}"),
            };
            // Writing to a String cannot fail.
            written.ok();
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self, time: &str) -> String {
        let mut fields = serde_json::Map::new();
        fields.insert("message".into(), self.message.clone().into());
        for (name, said) in &self.fields {
            let value = match said {
                Said::Text(said) | Said::Shown(said) => said.clone().into(),
                Said::Number(said) => said.clone(),
            };
            fields.insert((*name).into(), value);
        }
        let level = self.level.as_str();
        let line =
            json!({ "timestamp": time, "level": level, "fields": fields, "target": self.target });
        format!("{line}\n")
    }

    /// For journald, in its native protocol: no value has a line end in it.
    pub(super) fn journal(&self) -> String {
        let priority = match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 5,
            Level::DEBUG => 6,
            Level::TRACE => 7,
        };
        let mut text = format!(
            "PRIORITY={priority}\nSYSLOG_IDENTIFIER=tidegate\nTARGET={}\nMESSAGE={}\n",
            self.target,
            self.sentence()
        );
        for (name, said) in &self.fields {
            let name = name.to_uppercase();
            let written = match said {
                Said::Text(said) | Said::Shown(said) => writeln!(text, "F_{name}={said}"),
                Said::Number(said) => writeln!(text, "F_{name}={said}"),
            };
            written.ok();
        }
        text
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let most = if field.name() == "message" {
            MESSAGE_MAX
        } else {
            FIELD_MAX
        };
        let mut shown = String::new();
        write!(Escaped::new(&mut shown, most), "{value:?}").ok();
        self.put(field, Said::Shown(shown));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Said::Text(printable(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let chain = crate::process::chain(value);
        self.put(field, Said::Shown(printable(&chain)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Said::Number(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Said::Number(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Said::Number(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Said::Number(value.into()));
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    struct Keep(Arc<Mutex<Vec<Line>>>);

    impl<S: tracing::Subscriber> Layer<S> for Keep {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Line::of(event));
        }
    }

    /// The line of what is logged by `say`.
    fn line(say: impl FnOnce()) -> Line {
        let lines = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Keep(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, say);
        lines.lock().unwrap().pop().unwrap()
    }

    #[test]
    fn a_line_has_the_form_that_operators_and_programs_know() {
        let line = line(|| {
            let (lane, name) = ("state", "a \"b\"");
            tracing::warn!(%lane, name, count = 3_u64, share = 0.5, up = true, "events dropped");
        });
        let time = "2026-11-27T12:00:00.000001Z";
        assert_eq!(
            line.human(time, false),
            format!(
                "{time}  WARN events dropped lane=state name=\"a \\\"b\\\"\" count=3 share=0.5 up=true\n"
            )
        );
        let fields = json!({ "message": "events dropped", "lane": "state", "name": "a \"b\"", "count": 3, "share": 0.5, "up": true });
        let target = line.target.clone();
        assert_eq!(
            serde_json::from_str::<Value>(&line.json(time)).unwrap(),
            json!({ "timestamp": time, "level": "WARN", "fields": fields, "target": target })
        );
        let journal = line.journal();
        assert!(journal.starts_with("PRIORITY=4\n") && journal.ends_with("\nF_UP=true\n"));
    }

    #[test]
    fn whatever_a_field_or_a_message_holds_it_is_one_line_without_escapes_and_not_long() {
        let forged = "a\n2026-11-27T12:00:00Z ERROR forged\r\u{1b}[2J\u{202e}\u{2028}";
        for evil in [forged.to_owned(), forged.repeat(5000)] {
            let line = line(|| {
                let error = std::io::Error::other(evil.clone());
                let error = &error as &dyn std::error::Error;
                tracing::info!(text = evil, shown = %evil, debug = ?[&evil], error, "{evil}");
            });
            for text in [line.human("now", false), line.json("now")] {
                assert_eq!(text.lines().count(), 1, "{text}");
                let text = text.trim_end();
                assert!(!text.chars().any(adapters::is_dangerous), "{text}");
                assert!(text.chars().count() < 2 * (MESSAGE_MAX + 5 * FIELD_MAX));
            }
            assert_eq!(line.journal().lines().count(), 8);
        }
    }
}
