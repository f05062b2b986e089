//! A trace as JSON, in the schema that [`Trace::to_json`](super::Trace::to_json) documents.
//!
//! The text is valid JSON and safe inside a `<script>` element, whatever the labels contain.

use std::fmt::Write;
use std::time::Duration;

use super::recorder::{CacheState, Recording, Step};
use super::{Call, Summary};

/// The version of the schema; it grows when a field changes its meaning.
const VERSION: u32 = 1;

/// Renders the trace as one line of JSON.
pub(super) fn render(recording: &Recording) -> String {
    let mut out = Writer(String::with_capacity(256 * recording.calls.len()));
    out.object(|out| {
        out.field("version", |out| out.value(VERSION));
        out.field("took_ns", |out| out.time(recording.took));
        out.field("summary", |out| out.summary(&Summary::of(recording)));
        out.field("calls", |out| out.array(&recording.calls, Writer::call));
        out.field("steps", |out| out.array(&recording.steps, Writer::step));
    });
    out.0
}

/// Text to which JSON values are appended.
struct Writer(String);

impl Writer {
    fn summary(&mut self, summary: &Summary) {
        let counts = [
            ("calls", summary.calls),
            ("hits", summary.hits),
            ("misses", summary.misses),
            ("waits", summary.waits),
            ("stale", summary.stale),
            ("bypassed", summary.bypassed),
            ("failed", summary.failed),
            ("unfinished", summary.unfinished),
        ];
        self.object(|out| {
            for (name, number) in counts {
                out.field(name, |out| out.value(number));
            }
            out.field("saved_ns", |out| out.time(summary.saved));
        });
    }

    fn call(&mut self, call: &Call) {
        self.object(|out| {
            out.field("function", |out| out.string(call.function));
            out.field("args", |out| out.string(&call.args));
            out.field("outcome", |out| out.string(call.outcome.name()));
            out.field("result", |out| {
                out.optional(call.result.as_deref(), Writer::string);
            });
            out.field("parent", |out| out.optional(call.parent, Writer::value));
            out.field("depth", |out| out.value(call.depth));
            out.field("thread", |out| out.value(call.thread));
            out.field("started_ns", |out| out.time(call.started));
            out.field("took_ns", |out| out.time(call.took));
        });
    }

    fn step(&mut self, step: &Step) {
        self.object(|out| {
            out.field("call", |out| out.value(step.call));
            out.field("state", |out| {
                out.optional(step.state.as_ref(), Writer::state);
            });
        });
    }

    fn state(&mut self, state: &CacheState) {
        self.object(|out| {
            out.field("entries", |out| out.value(state.entries));
            out.field("weight", |out| out.value(state.weight));
            out.field("capacity", |out| {
                out.optional(state.capacity, Writer::value);
            });
            out.field("keys", |out| {
                out.array(&state.keys, |out, key| out.string(key));
            });
            out.field("more_keys", |out| out.value(state.more_keys));
        });
    }

    fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.0.push('{');
        fields(self);
        self.0.push('}');
    }

    fn field(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.string(name);
        self.0.push(':');
        value(self);
    }

    fn array<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.0.push('[');
        for (position, value) in items.iter().enumerate() {
            if position > 0 {
                self.0.push(',');
            }
            item(self, value);
        }
        self.0.push(']');
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.push_str("null"),
        }
    }

    fn time(&mut self, duration: Duration) {
        self.value(duration.as_nanos());
    }

    /// Appends a number.
    fn value(&mut self, number: impl std::fmt::Display) {
        write!(self.0, "{number}").expect("a string accepts all text");
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                // `<` could begin a tag inside a script element. U+2028 and U+2029 end a line in older JavaScript.
                '<' | '\u{2028}' | '\u{2029}' => self.escape(character),
                _ if character.is_control() => self.escape(character),
                _ => self.0.push(character),
            }
        }
        self.0.push('"');
    }

    /// Appends a character below U+10000, which all escaped ones are, by its number.
    fn escape(&mut self, character: char) {
        write!(self.0, "\\u{:04x}", u32::from(character)).expect("a string accepts all text");
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::tests::{chain, hit, miss};
    use super::super::{Outcome, enter, trace};
    use super::*;

    fn string(text: &str) -> String {
        let mut out = Writer(String::new());
        out.string(text);
        out.0
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"b\\c\nd\te\r"), r#""a\"b\\c\nd\u0009e\u000d""#);
        assert_eq!(
            string("\0\u{1f}\u{7f}\u{9f}"),
            r#""\u0000\u001f\u007f\u009f""#
        );
        assert_eq!(string("\u{2028}\u{2029}"), r#""\u2028\u2029""#);
        assert_eq!(
            string("größe 日本 🐦 \u{2212}"),
            "\"größe 日本 🐦 \u{2212}\""
        );
    }

    #[test]
    fn a_label_cannot_close_a_script_element() {
        assert_eq!(string("</script><!--"), r#""\u003c/script>\u003c!--""#);
    }

    #[test]
    fn calls_and_states_are_complete() {
        let state = CacheState {
            entries: 1,
            weight: 3,
            capacity: Some(9),
            keys: vec!["2".to_owned()],
            more_keys: 0,
        };
        let mut trace = trace(|| {
            miss("f", "1", "x", || {
                let span = enter("g", "\"a\"".to_owned()).expect("traced");
                span.finish(Outcome::Wait, None, state);
            });
            drop(enter("f", "2".to_owned()));
        });
        trace.recording.took = Duration::from_nanos(50);
        for (position, call) in trace.recording.calls.iter_mut().enumerate() {
            call.started = Duration::from_nanos(position as u64);
            call.took = Duration::from_nanos(7);
        }
        let expected = concat!(
            r#"{"version":1,"took_ns":50,"#,
            r#""summary":{"calls":3,"hits":0,"misses":1,"waits":1,"stale":0,"bypassed":0,"failed":1,"#,
            r#""unfinished":0,"saved_ns":0},"#,
            r#""calls":[{"function":"f","args":"1","outcome":"miss","result":"x","parent":null,"depth":0,"#,
            r#""thread":0,"started_ns":0,"took_ns":7},"#,
            r#"{"function":"g","args":"\"a\"","outcome":"wait","result":null,"parent":0,"depth":1,"#,
            r#""thread":0,"started_ns":1,"took_ns":7},"#,
            r#"{"function":"f","args":"2","outcome":"failed","result":null,"parent":null,"depth":0,"#,
            r#""thread":0,"started_ns":2,"took_ns":7}],"#,
            r#""steps":[{"call":1,"state":{"entries":1,"weight":3,"capacity":9,"keys":["2"],"more_keys":0}},"#,
            r#"{"call":0,"state":{"entries":0,"weight":0,"capacity":null,"keys":[],"more_keys":0}},"#,
            r#"{"call":2,"state":null}]}"#,
        );
        assert_eq!(trace.to_json(), expected);
    }

    #[test]
    fn a_value_that_ends_with_a_brace_does_not_lose_its_comma() {
        let trace = trace(|| hit("f", "{", "{"));
        assert!(
            trace
                .to_json()
                .contains(r#""args":"{","outcome":"hit","result":"{","parent""#)
        );
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_is_flat() {
        let json = chain(100_000).to_json();
        assert!(json.contains(r#""parent":99998,"depth":99999,"#));
    }
}
