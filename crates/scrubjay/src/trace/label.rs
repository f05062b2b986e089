//! Labels: calls, times and numbers as short text on one line.
//!
//! Widths are counted in characters, and text is cut only between characters.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use super::Call;

/// Cuts `text` to at most `columns` characters, the last of which is then `…`.
pub(super) fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    // A text has no more characters than bytes, so most labels are never counted.
    if text.len() <= columns || text.chars().nth(columns).is_none() {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

/// Escapes control characters, so that a label never breaks a line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    Cow::Owned(line)
}

/// Returns `function(args)`, in at most `columns` characters if that leaves room for the parentheses.
pub(super) fn call(call: &Call, columns: usize) -> String {
    let args = one_line(&call.args);
    // A long name leaves a quarter to the arguments, which tell one call from the next.
    let kept = width(&args).min(columns / 4) + 2;
    let function = shorten(call.function, columns.saturating_sub(kept).max(1));
    let room = columns.saturating_sub(width(&function) + 2).max(1);
    format!("{function}({})", shorten(&args, room))
}

/// Returns `function(args) = result`, in about `columns` characters: a long result gets a third of them.
pub(super) fn call_and_result(recorded: &Call, columns: usize) -> String {
    let Some(result) = &recorded.result else {
        return call(recorded, columns);
    };
    let result = one_line(result);
    let whole = width(recorded.function) + width(&one_line(&recorded.args)) + 2;
    let room = columns.saturating_sub(whole + 3).max(columns / 3).max(1);
    let result = shorten(&result, room);
    let head = call(recorded, columns.saturating_sub(width(&result) + 3));
    format!("{head} = {result}")
}

/// Returns the number of characters.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Returns a time with three or four digits and its unit.
pub(super) fn time(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let seconds = duration.as_secs_f64();
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        // The bounds are those at which one decimal would round up to a thousand of the smaller unit.
        1_000..999_950 => format!("{:.1} µs", seconds * 1e6),
        999_950..999_950_000 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Returns a number with commas between thousands.
pub(super) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a grouped number and its noun, in the plural unless there is one.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn labels_are_cut_between_characters() {
        assert_eq!(shorten("äöüß", 4), "äöüß");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten("日本語", 1), "…");
    }

    #[test]
    fn control_characters_never_break_a_line() {
        assert_eq!(one_line("a\nb\u{7}"), "a\\nb\\u{7}");
        assert_eq!(one_line("plain"), "plain");
    }

    #[test]
    fn times_never_show_a_thousand_of_a_unit() {
        let shown = |nanos| time(Duration::from_nanos(nanos));
        assert_eq!(shown(999), "999 ns");
        assert_eq!(shown(12_100), "12.1 µs");
        assert_eq!(shown(999_949), "999.9 µs");
        assert_eq!(shown(999_951), "1.0 ms");
        assert_eq!(shown(999_950_001), "1.0 s");
    }

    #[test]
    fn a_long_name_and_long_arguments_share_the_room() {
        let recorded = |function, args: &str| Call {
            function,
            args: args.to_owned(),
            outcome: Outcome::Hit,
            result: Some("a long result".to_owned()),
            parent: None,
            depth: 0,
            thread: 0,
            started: Duration::ZERO,
            took: Duration::ZERO,
        };
        let long = recorded("a_rather_long_name", "\"long\", \"arguments\"");
        assert_eq!(call(&long, 20), "a_rather_lon…(\"lon…)");
        assert_eq!(
            call_and_result(&long, 30),
            "a_rather_l…(\"lo…) = a long re…"
        );
        let short = recorded("f", "1");
        assert_eq!(call(&short, 20), "f(1)");
        assert_eq!(call_and_result(&short, 20), "f(1) = a long result");
        assert_eq!(call(&short, 0), "f(1)");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(99_950), "99,950");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
