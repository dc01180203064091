//! The plain page at `/`.

use std::fmt::Write;

/// What the landing page says, as HTML.
pub(super) fn page(telemetry_path: &str, version: &str) -> String {
    let (path, version) = (escape(telemetry_path), escape(version));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>unit-exporter</title></head>\n<body>\n<h1>unit-exporter</h1>\n\
         <p>Metrics of this host as systemd sees it. Version {version}.</p>\n<ul>\n\
         <li><a href=\"{path}\">Metrics</a></li>\n\
         <li><a href=\"/-/healthy\">Healthy</a></li>\n\
         <li><a href=\"/-/ready\">Ready</a></li>\n</ul>\n</body>\n</html>\n"
    )
}

/// Text as it may stand in HTML and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                // writing to a string cannot fail
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_an_attribute() {
        let page = page("/m\"><script>alert('x')</script>&", "1");
        assert!(!page.contains("<script>"));
        assert!(page.contains("href=\"/m&#34;&#62;&#60;script&#62;alert(&#39;x&#39;)"));
    }
}
