//! Pages of lists: a limit, an opaque cursor, and whether more follows; it knows no table.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How many items a page has when nobody says.
pub const DEFAULT_LIMIT: u32 = 50;
/// How many items a page may have.
pub const HIGHEST_LIMIT: u32 = 200;

/// A page of a list, newest or oldest first as the list says.
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to ask the next page with; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of the rows that were read, [`rows_to_read`] at most.
    pub fn of(mut rows: Vec<T>, limit: u32, position: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(position(last)));
        Self { items: rows, next_cursor }
    }
}

/// How many rows a statement reads for a page: one more than its limit, which shows whether more
/// follow.
pub const fn rows_to_read(limit: u32) -> i64 {
    limit as i64 + 1
}

/// The position that a cursor stands for; `None` when it is no cursor of ours.
pub fn read_cursor<P: std::str::FromStr>(cursor: &str) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    // A name that a list is sorted by contains no NUL. PostgreSQL would refuse one.
    std::str::from_utf8(&bytes).ok().filter(|position| !position.contains('\0'))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_leads_to_the_next_and_the_last_page_to_none() {
        let first = Page::of(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!(first.items, [1, 2]);
        assert_eq!(first.next_cursor.as_deref().and_then(read_cursor::<i32>), Some(2));
        assert!(Page::of(vec![3], 2, ToString::to_string).next_cursor.is_none());
    }

    #[test]
    fn what_is_no_cursor_is_not_read_as_one() {
        assert_eq!(read_cursor::<i64>("%%%"), None);
        assert_eq!(read_cursor::<i64>("YWJj"), None);
        assert_eq!(read_cursor::<String>(&URL_SAFE_NO_PAD.encode("a\0b")), None);
    }
}
