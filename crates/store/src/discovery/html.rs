//! The `meta` tags of a page, and nothing else of HTML. Any bytes give a list; none panics.

/// Elements whose content is text, whatever it looks like.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];
/// Most tags that are given.
const MOST: usize = 256;

/// `name` and `content` of each `meta` tag whose name begins with `ac-`.
pub(super) fn metas(page: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(page);
    let mut rest: &str = &text;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once('<') {
        rest = after;
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let end = rest
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))
            .unwrap_or(rest.len());
        let (element, after) = rest.split_at(end);
        let element = element.to_ascii_lowercase();
        if element == "meta" {
            let (attributes, after) = attributes(after);
            rest = after;
            let get = |key: &str| {
                attributes
                    .iter()
                    .find(|(k, _)| k == key)
                    .map(|(_, v)| v.clone())
            };
            if let (Some(name), Some(content)) = (get("name"), get("content"))
                && name.starts_with("ac-")
                && found.len() < MOST
            {
                found.push((name, content));
            }
        } else if RAW.contains(&element.as_str()) {
            rest = skip_raw(after, &element);
        }
    }
    found
}

/// What stands behind the end of an element whose content is text.
fn skip_raw<'a>(text: &'a str, element: &str) -> &'a str {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("</") {
        rest = after;
        if rest
            .get(..element.len())
            .is_some_and(|e| e.eq_ignore_ascii_case(element))
        {
            return rest;
        }
    }
    ""
}

/// The attributes of a tag, up to its `>`, and what stands behind.
fn attributes(text: &str) -> (Vec<(String, String)>, &str) {
    let mut list = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (list, after);
        }
        if rest.is_empty() {
            return (list, rest);
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/'))
            .map_or(rest.len(), |(at, _)| at);
        let (name, after) = rest.split_at(end);
        let name = name.to_ascii_lowercase();
        rest = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(after) = rest.strip_prefix('=') else {
            list.push((name, String::new()));
            continue;
        };
        let after = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, behind) = match quote {
            Some(quote) => after
                .get(1..)
                .and_then(|v| v.split_once(quote))
                .unwrap_or(("", "")),
            None => {
                let end = after
                    .find(|c: char| c.is_ascii_whitespace() || c == '>')
                    .unwrap_or(after.len());
                after.split_at(end)
            }
        };
        list.push((name, decode(value)));
        rest = behind;
    }
}

/// The references that an address may need.
fn decode(value: &str) -> String {
    [
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(value.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn meta_tags_are_found_however_they_are_written() {
        let page = br#"<!DOCTYPE html><html><head>
            <title><meta name="ac-title" content="no"></title>
            <!-- <meta name="ac-comment" content="no"> -->
            <script>"<meta name='ac-script' content='no'>"</SCRIPT>
            <meta name="ac-discovery" content="example.com https://a/{name}?b&amp;c">
            <META content='x y' NAME=ac-single />
            <meta name = "ac-spaced"
                content = "p u"><meta charset="utf-8"><metallic name="ac-no" content="no">
            <meta name="other" content="no"><meta name="ac-open" content="e
        "#;
        let found = metas(page);
        let names: Vec<&str> = found.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names[..3], ["ac-discovery", "ac-single", "ac-spaced"]);
        assert_eq!(found[0].1, "example.com https://a/{name}?b&c");
        assert_eq!(found[1].1, "x y");
        assert!(found.iter().all(|(_, content)| content != "no"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_list(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            metas(&bytes);
        }

        #[test]
        fn any_mess_of_tags_gives_a_list(parts in prop::collection::vec(
            "(<meta|<!--|-->|<script>|</script|name=|content=|\"|'|>|/| |ac-x|=|&amp;|\u{e9})", 0..40
        )) {
            metas(parts.concat().as_bytes());
        }
    }
}
