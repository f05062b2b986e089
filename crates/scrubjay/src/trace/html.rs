//! A trace as one HTML page: `page.html` with its style, its script and the trace's JSON put in.
//!
//! The page loads nothing and works from a file. Labels reach it only as JSON that cannot leave its element, and the
//! script shows them only as text, so that no label can become markup.

use super::json;
use super::recorder::Recording;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Renders the page.
pub(super) fn render(recording: &Recording) -> String {
    let page = PAGE
        .replacen("/* page.css */", STYLE, 1)
        .replacen("/* page.js */", SCRIPT, 1);
    // The data comes last, so that nothing is ever replaced within it.
    let (before, after) = page
        .split_once("{{data}}")
        .expect("page.html has a place for the data");
    [before, &json::render(recording), after].concat()
}

#[cfg(test)]
mod tests {
    use super::super::recorder::tests::{chain, hit};
    use super::super::trace;
    use super::*;

    #[test]
    fn the_page_contains_its_parts_and_no_placeholder() {
        let page = trace(|| hit("f", "1", "x")).to_html();
        assert!(page.contains(STYLE));
        assert!(page.contains(SCRIPT));
        assert!(page.contains(r#""function":"f","args":"1""#));
        for placeholder in ["/* page.css */", "/* page.js */", "{{data}}"] {
            assert!(!page.contains(placeholder), "{placeholder}");
        }
    }

    #[test]
    fn labels_cannot_become_markup_or_placeholders() {
        let plain = trace(|| hit("f", "1", "x")).to_html();
        let nasty = trace(|| hit("f", "</script><script>alert(1)</script>", "{{data}}")).to_html();
        assert_eq!(
            nasty.matches("</script").count(),
            plain.matches("</script").count()
        );
        assert_eq!(
            nasty.matches("<script").count(),
            plain.matches("<script").count()
        );
        assert!(nasty.contains(r#""result":"{{data}}""#));
    }

    #[test]
    fn the_page_loads_nothing_and_inserts_no_markup() {
        for part in [PAGE, STYLE, SCRIPT] {
            for forbidden in [
                "http://",
                "https://",
                "url(",
                "@import",
                "innerHTML",
                "insertAdjacentHTML",
                "eval(",
            ] {
                assert!(!part.contains(forbidden), "{forbidden}");
            }
        }
        assert!(PAGE.contains("default-src 'none'"));
    }

    #[test]
    fn the_page_stays_small() {
        let lines = [PAGE, STYLE, SCRIPT].map(|part| part.lines().count());
        assert!(lines.iter().sum::<usize>() <= 500);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_is_a_page() {
        assert!(chain(100_000).to_html().ends_with("</html>\n"));
    }
}
