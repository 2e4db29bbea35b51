//! The pages a browser is led to, one after the other, and what they show in words.

use std::collections::VecDeque;

/// Pages behind the first one.
pub const FURTHER_MAX: usize = 6;
/// Characters of a page's words that are kept.
const WORDS_MAX: usize = 64 * 1024;

/// Asked of each page: what a person can read of it.
pub const READ: &str = "(document.body ? document.body.innerText : '').slice(0, 65536)";

/// A way through the app.
#[derive(Debug)]
pub struct Route {
    origin: String,
    at: String,
    further: VecDeque<String>,
    words: Vec<(String, String)>,
}

impl Route {
    /// From the app's first page to these, each once. More than [`FURTHER_MAX`] are left out.
    pub fn new(port: u16, pages: &[&str]) -> Self {
        let mut further = VecDeque::new();
        for page in pages {
            if *page != "/" && further.len() < FURTHER_MAX && !further.iter().any(|have| have == page) {
                further.push_back((*page).to_owned());
            }
        }
        Self { origin: format!("http://localhost:{port}"), at: "/".to_owned(), further, words: Vec::new() }
    }

    /// The address of this page.
    pub fn address(&self) -> String {
        format!("{}{}", self.origin, self.at)
    }

    /// The path of an address, if it is the app's.
    pub fn path_of<'a>(&self, address: &'a str) -> Option<&'a str> {
        address.strip_prefix(self.origin.as_str()).filter(|path| path.starts_with('/'))
    }

    /// How many pages are left.
    pub fn left(&self) -> usize {
        self.further.len()
    }

    /// Notes what this page shows.
    pub fn read(&mut self, words: &str) {
        self.words.push((self.at.clone(), words.chars().take(WORDS_MAX).collect()));
    }

    /// Goes to the next page, if there is one.
    pub fn go_on(&mut self) -> bool {
        let next = self.further.pop_front();
        let goes_on = next.is_some();
        self.at = next.unwrap_or_default();
        goes_on
    }

    /// The words of each page that was read, by its path.
    pub fn into_words(self) -> Vec<(String, String)> {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_leads_to_each_page_once_and_not_to_too_many() {
        let many: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
        let mut pages = vec!["/", "/a", "/a"];
        pages.extend(many.iter().map(String::as_str));
        let mut route = Route::new(3000, &pages);
        assert_eq!(route.address(), "http://localhost:3000/");
        route.read(&"é".repeat(1_000_000));
        assert!(route.go_on());
        assert_eq!(route.address(), "http://localhost:3000/a");
        let mut count = 1;
        while route.go_on() {
            count += 1;
        }
        assert_eq!(count, FURTHER_MAX);
        let words = route.into_words();
        assert_eq!((words.len(), words[0].0.as_str(), words[0].1.chars().count()), (1, "/", WORDS_MAX));
    }

    #[test]
    fn an_address_is_the_apps_or_another() {
        let route = Route::new(3000, &[]);
        assert_eq!(route.path_of("http://localhost:3000/a.png"), Some("/a.png"));
        for other in ["http://localhost:30001/a", "https://fonts.example.com/a", ""] {
            assert_eq!(route.path_of(other), None, "{other}");
        }
    }
}
