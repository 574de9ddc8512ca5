//! All connections of a server, page by page, none left out: connections that end while we read
//! make later ones move up, past the border of a page. So pages overlap, and where that is not enough
//! we step back. Pure.

use super::connz::Connection;

/// nats-server sorts all its connections for each page, so there should be few. What it gives unasked.
pub(super) const PAGE: usize = 1024;
const OVERLAP: usize = 128;
/// Where the overlap was not enough. Not a whole page: that would find little that is new.
const BACK: usize = PAGE / 2;
/// Steps back included; 64,000 connections without.
const MOST_PAGES: u32 = 72;

/// Oldest connection first: their numbers grow.
#[derive(Debug, Default)]
pub(super) struct Walk {
    offset: usize,
    /// The newest that was handed out.
    last: Option<u64>,
    pages: u32,
    is_complete: bool,
}

impl Walk {
    /// What to ask for now; none at the end.
    pub(super) fn path(&self) -> Option<String> {
        let goes_on = !self.is_complete && self.pages < MOST_PAGES;
        goes_on.then(|| format!("/connz?auth=1&sort=cid&limit={PAGE}&offset={}", self.offset))
    }

    /// Whether every connection was handed out.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Those of the page that were not handed out before.
    pub(super) fn handle<'a>(
        &mut self,
        page: &'a [Connection],
    ) -> impl Iterator<Item = &'a Connection> + use<'a> {
        self.pages += 1;
        let last = self.last;
        let is_missing_some = self.offset > 0 && page.first().map(|first| first.cid) > last;
        let page: &'a [Connection] = if is_missing_some || page.is_empty() && self.offset > 0 {
            self.offset = self.offset.saturating_sub(BACK);
            &[]
        } else {
            self.is_complete = page.len() < PAGE;
            self.offset += page.len().saturating_sub(OVERLAP);
            self.last = page.last().map(|newest| newest.cid).max(last);
            page
        };
        page.iter()
            .filter(move |connection| Some(connection.cid) > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cids: &[u64], offset: usize) -> Vec<Connection> {
        let cids = cids.iter().skip(offset).take(PAGE);
        cids.map(|cid| serde_json::from_str(&format!(r#"{{"cid":{cid}}}"#)).unwrap())
            .collect()
    }

    /// Walks over what `server` has at each question; what was handed out.
    fn walk(mut server: impl FnMut(u32) -> Vec<u64>) -> (Vec<u64>, Walk) {
        let (mut walk, mut handed_out) = (Walk::default(), Vec::new());
        while walk.path().is_some() {
            let page = page(&server(walk.pages), walk.offset);
            handed_out.extend(walk.handle(&page).map(|connection| connection.cid));
        }
        (handed_out, walk)
    }

    #[test]
    fn each_is_handed_out_once() {
        for count in [0, 1, 1023, 1024, 1025, 1919, 1920, 1921, 10_000] {
            let all: Vec<u64> = (5..5 + count).collect();
            let (handed_out, walk) = walk(|_| all.clone());
            assert!(walk.is_complete(), "{count}");
            assert_eq!(handed_out, all);
            assert!(walk.pages <= 12, "{count}: {} questions", walk.pages);
        }
    }

    #[test]
    fn none_that_stays_is_left_out_while_others_end() {
        for ending in [1, 127, 128, 129, 500, 1000] {
            let at_first: Vec<u64> = (0..4_000).collect();
            // Of the oldest, and more of them before each question.
            let server = |asked: u32| at_first[(ending * asked as usize).min(3_000)..].to_vec();
            let (handed_out, walk) = walk(server);
            assert!(walk.is_complete(), "{ending}");
            let stayed: Vec<u64> = (3_000..4_000).collect();
            assert!(handed_out.ends_with(&stayed), "{ending}: {handed_out:?}");
            assert!(handed_out.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn a_server_without_an_end_is_given_up() {
        let (_, walk) = walk(|_| (0..1_000_000).collect());
        assert!(!walk.is_complete());
        assert_eq!(walk.pages, MOST_PAGES);
    }
}
