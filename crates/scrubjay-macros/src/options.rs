//! The options between the parentheses of `#[memoize(…)]`.
//!
//! Invariant: what comes out of here is what was written, each option at most once, and every error points at the
//! option, or the part of it, that is wrong. Whether options go together and fit the function is `validate`'s.

use std::time::Duration;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token, parenthesized};

/// What was written.
#[derive(Default)]
pub struct Options {
    pub key: Option<Expr>,
    pub ignore: Vec<Ident>,
    pub when: Option<Expr>,
    pub tags: Option<Expr>,
    pub weigh: Option<Expr>,
    pub store_if: Option<Expr>,
    pub on_removal: Option<Expr>,
    pub capacity: Option<Expr>,
    pub ttl: Option<Time>,
    pub idle: Option<Time>,
    pub jitter: Option<Expr>,
    pub refresh: Option<Time>,
    pub stale_while_refresh: Option<Time>,
    pub stale_if_error: Option<Time>,
    pub errors: Option<Time>,
    pub none: Option<Time>,
    pub timeout: Option<Time>,
    pub policy: Option<Expr>,
    pub share_errors: Option<Expr>,
    pub clock: Option<Expr>,
    pub name: Option<LitStr>,
    pub disk: Option<Expr>,
    pub version: Option<Expr>,
    pub code: Option<LitStr>,
    pub local: Option<Span>,
    pub in_impl: Option<Span>,
    pub in_trait: Option<Span>,
}

/// Every option, in the order of the manual.
const NAMES: [&str; 27] = [
    "key",
    "ignore",
    "when",
    "capacity",
    "weigh",
    "policy",
    "ttl",
    "idle",
    "jitter",
    "refresh",
    "stale_while_refresh",
    "stale_if_error",
    "errors",
    "none",
    "share_errors",
    "store_if",
    "timeout",
    "tags",
    "on_removal",
    "clock",
    "name",
    "disk",
    "version",
    "code",
    "local",
    "in_impl",
    "in_trait",
];

/// What the options are called elsewhere.
const OTHER_NAMES: [(&str, &str); 16] = [
    ("max_size", "capacity"),
    ("maxsize", "capacity"),
    ("max_capacity", "capacity"),
    ("size", "capacity"),
    ("time_to_live", "ttl"),
    ("expires", "ttl"),
    ("time", "ttl"),
    ("time_to_idle", "idle"),
    ("tti", "idle"),
    ("weigher", "weigh"),
    ("weight", "weigh"),
    ("convert", "key"),
    ("tag", "tags"),
    ("load_timeout", "timeout"),
    ("refresh_after", "refresh"),
    ("thread_local", "local"),
];

/// A duration: written as a literal, or computed when the cache is built.
#[derive(Clone)]
pub enum Time {
    Known(Duration, Span),
    Computed(Expr),
}

impl Time {
    /// The duration and its place, if it was written as a literal.
    pub fn known(&self) -> Option<(Duration, Span)> {
        match self {
            Self::Known(duration, span) => Some((*duration, *span)),
            Self::Computed(_) => None,
        }
    }
}

/// One option as it stands there.
struct Written {
    name: Ident,
    value: Value,
}

enum Value {
    Nothing,
    Expr(Expr),
    List(Vec<Ident>),
}

impl Parse for Written {
    fn parse(input: ParseStream) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let list;
            parenthesized!(list in input);
            let names =
                Punctuated::<Ident, Token![,]>::parse_terminated_with(&list, Ident::parse_any);
            let names = names.map_err(|error| {
                Error::new(
                    error.span(),
                    format!("`{name}(…)` lists names of arguments"),
                )
            })?;
            Value::List(names.into_iter().collect())
        } else {
            Value::Nothing
        };
        Ok(Self { name, value })
    }
}

impl Parse for Options {
    fn parse(input: ParseStream) -> Result<Self> {
        let written = Punctuated::<Written, Token![,]>::parse_terminated(input)?;
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let mut errors: Option<Error> = None;
        for Written { name, value } in written {
            let text = name.to_string();
            let set = if seen.contains(&text) {
                Err(Error::new(name.span(), format!("`{name}` is given twice")))
            } else {
                options.set(&name, value)
            };
            seen.push(text);
            if let Err(error) = set {
                match &mut errors {
                    Some(errors) => errors.combine(error),
                    None => errors = Some(error),
                }
            }
        }
        errors.map_or(Ok(options), Err)
    }
}

impl Options {
    fn set(&mut self, name: &Ident, value: Value) -> Result<()> {
        let text = name.to_string();
        match text.as_str() {
            "local" | "in_impl" | "in_trait" => self.set_flag(name, &text, &value),
            "ignore" => match value {
                Value::List(names) if !names.is_empty() => {
                    self.ignore = names;
                    Ok(())
                }
                _ => Err(Error::new(
                    name.span(),
                    "`ignore` lists arguments, as in `ignore(client, verbose)`",
                )),
            },
            "redis" => Err(Error::new(
                name.span(),
                "`redis`: this version has no redis tier yet",
            )),
            known if NAMES.contains(&known) => match value {
                Value::Expr(value) => self.set_value(&text, value),
                _ => Err(Error::new(
                    name.span(),
                    format!("`{name}` needs a value: `{name} = …`"),
                )),
            },
            _ => Err(unknown(name, &text)),
        }
    }

    fn set_flag(&mut self, name: &Ident, text: &str, value: &Value) -> Result<()> {
        if !matches!(value, Value::Nothing) {
            let message = format!("`{name}` takes no value; leave it out if it is not wanted");
            return Err(Error::new(name.span(), message));
        }
        let flag = match text {
            "local" => &mut self.local,
            "in_impl" => &mut self.in_impl,
            _ => &mut self.in_trait,
        };
        *flag = Some(name.span());
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: Expr) -> Result<()> {
        match name {
            "ttl" => return set_time(&mut self.ttl, value),
            "idle" => return set_time(&mut self.idle, value),
            "refresh" => return set_time(&mut self.refresh, value),
            "stale_while_refresh" => return set_time(&mut self.stale_while_refresh, value),
            "stale_if_error" => return set_time(&mut self.stale_if_error, value),
            "errors" => return set_time(&mut self.errors, value),
            "none" => return set_time(&mut self.none, value),
            "timeout" => return set_time(&mut self.timeout, value),
            "name" => {
                self.name = Some(text_of(&value)?);
                return Ok(());
            }
            "code" => {
                self.code = Some(off_of(&value)?);
                return Ok(());
            }
            _ => {}
        }
        let place = match name {
            "key" => &mut self.key,
            "when" => &mut self.when,
            "tags" => &mut self.tags,
            "weigh" => &mut self.weigh,
            "store_if" => &mut self.store_if,
            "on_removal" => &mut self.on_removal,
            "capacity" => &mut self.capacity,
            "jitter" => &mut self.jitter,
            "policy" => &mut self.policy,
            "share_errors" => &mut self.share_errors,
            "disk" => &mut self.disk,
            "version" => &mut self.version,
            _ => &mut self.clock,
        };
        *place = Some(value);
        Ok(())
    }

    /// The options whose expressions are about the arguments of a call.
    pub fn about_arguments(&self) -> impl Iterator<Item = &Expr> {
        [&self.key, &self.when, &self.tags].into_iter().flatten()
    }
}

fn set_time(place: &mut Option<Time>, value: Expr) -> Result<()> {
    *place = Some(time_of(value)?);
    Ok(())
}

fn text_of(value: &Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text.clone()),
        _ => Err(Error::new(
            value.span(),
            "a name is written as a text: `name = \"users\"`",
        )),
    }
}

/// The only thing that can be said of the code.
fn off_of(value: &Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) if text.value() == "off" => Ok(text.clone()),
        _ => Err(Error::new(
            value.span(),
            "`code` is `\"off\"`, or left out: then entries on disk are bound to the function's code",
        )),
    }
}

fn time_of(value: Expr) -> Result<Time> {
    match &value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => {
            let written = text.value();
            match duration(&written) {
                Some(duration) => Ok(Time::Known(duration, text.span())),
                None => Err(Error::new(
                    text.span(),
                    format!(
                        "\"{written}\" is not a duration: write numbers and units (ns, us, ms, s, m, h, d), \
                         as in \"500ms\" or \"1h30m\""
                    ),
                )),
            }
        }
        Expr::Lit(ExprLit {
            lit: Lit::Int(_) | Lit::Float(_),
            ..
        }) => Err(Error::new(
            value.span(),
            "a duration needs a unit: write \"60s\" or \"5m\", or an expression of type `Duration`",
        )),
        _ => Ok(Time::Computed(value)),
    }
}

/// Reads `1h30m`; `None` if it is no duration or one too long.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let end = rest
            .find(|letter: char| letter.is_ascii_digit() || letter.is_whitespace())
            .unwrap_or(rest.len());
        sum = sum.checked_add(of_unit(number, &rest[..end])?)?;
        rest = rest[end..].trim_start();
    }
    Some(sum)
}

fn of_unit(number: u64, unit: &str) -> Option<Duration> {
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ns" => Some(Duration::from_nanos(number)),
        "us" | "µs" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(86_400),
        _ => None,
    }
}

fn unknown(name: &Ident, text: &str) -> Error {
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == text);
    let nearest = other.map(|(_, ours)| *ours).or_else(|| {
        let distances = NAMES.iter().map(|ours| (distance(text, ours), *ours));
        let nearest = distances.min_by_key(|(distance, _)| *distance);
        nearest
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, ours)| ours)
    });
    let message = match nearest {
        Some(ours) => format!("there is no option `{name}`; did you mean `{ours}`?"),
        None => format!(
            "there is no option `{name}`; there are {}",
            NAMES.join(", ")
        ),
    };
    Error::new(name.span(), message)
}

/// How many letters differ (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(duration(" 1 d 1 s "), Some(Duration::from_secs(86_401)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "5 minutes",
            "-5s",
            "1.5s",
            "18446744073709551615d",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_misspelled_option_is_near_the_one_meant() {
        assert_eq!(distance("capcity", "capacity"), 1);
        assert_eq!(distance("tll", "ttl"), 1);
        assert_eq!(distance("key", "idle"), 4);
    }
}
