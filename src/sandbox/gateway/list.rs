//! Lists in pages: filters, order and the token of the next page.

use super::shapes::{Refused, bad};
use crate::domain::{parse_rfc3339, rfc3339};
use crate::sandbox::fleet::{Phase, Record};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::{BTreeMap, HashMap};

const LIMIT_MAX: usize = 100;

/// Items of a page, and the token of the next one.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Cuts a page out of items that are in order. `key` gives the time and id by which they are.
pub(super) fn page<T>(
    items: Vec<T>,
    query: &HashMap<String, String>,
    ascending: bool,
    key: impl Fn(&T) -> (u64, String),
) -> Result<Page<T>, Refused> {
    let limit = match query.get("limit").filter(|limit| !limit.is_empty()) {
        None => LIMIT_MAX,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => limit,
            _ => return Err(bad(format!("limit is a number from 1 to {LIMIT_MAX}"))),
        },
    };
    let after = query.get("nextToken").filter(|token| !token.is_empty());
    let after = after.map(|token| parse(token, ascending).ok_or_else(|| bad("invalid next token"))).transpose()?;
    let behind = |item: &T| match &after {
        None => true,
        Some(last) if ascending => key(item) > *last,
        Some(last) => key(item) < *last,
    };
    let mut items: Vec<T> = items.into_iter().filter(behind).take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| token(&key(item), ascending));
    Ok(Page { items, next })
}

fn token((at, id): &(u64, String), ascending: bool) -> String {
    let order = if ascending { "__asc" } else { "" };
    URL_SAFE_NO_PAD.encode(format!("{}__{id}{order}", rfc3339(*at)))
}

/// A token of the other order is refused.
fn parse(token: &str, ascending: bool) -> Option<(u64, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?).ok()?;
    let (at, rest) = text.split_once("__")?;
    let id = match (rest.strip_suffix("__asc"), ascending) {
        (Some(id), true) => id,
        (None, false) => rest,
        _ => return None,
    };
    Some((parse_rfc3339(at)?, id.to_owned()))
}

/// The records a query asks for, in its order.
pub(super) fn select(
    records: Vec<Record>,
    query: &HashMap<String, String>,
    default_states: &[Phase],
) -> Result<(Vec<Record>, bool), Refused> {
    let get = |name: &str| query.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let states: Vec<Phase> = match get("state") {
        None => default_states.to_vec(),
        Some(list) => list
            .split(',')
            .map(|state| match state {
                "running" => Ok(Phase::Running),
                "paused" => Ok(Phase::Paused),
                _ => Err(bad("state is running, paused or both with a comma between")),
            })
            .collect::<Result<_, _>>()?,
    };
    let metadata = get("metadata").map(metadata).unwrap_or_default();
    let started_after = get("startedAfter")
        .map(|text| parse_rfc3339(text).ok_or_else(|| bad("startedAfter is not a time in RFC 3339")))
        .transpose()?;
    let ascending = match get("order") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(bad("order is asc or desc")),
    };
    let template = get("template");
    let mut found: Vec<Record> = records
        .into_iter()
        .filter(|record| states.contains(&record.phase))
        .filter(|record| metadata.iter().all(|(key, value)| record.metadata.get(key) == Some(value)))
        .filter(|record| started_after.is_none_or(|after| record.started_at > after))
        .filter(|record| {
            template.is_none_or(|template| record.template == template || record.alias.as_deref() == Some(template))
        })
        .collect();
    found.sort_by(|a, b| (a.created_at, a.id.as_str()).cmp(&(b.created_at, b.id.as_str())));
    if !ascending {
        found.reverse();
    }
    Ok((found, ascending))
}

/// The SDK escapes keys and values, then makes a query string of them, which is then the value of a parameter.
fn metadata(text: &str) -> BTreeMap<String, String> {
    let unescape = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    form_urlencoded::parse(text.as_bytes()).map(|(key, value)| (unescape(&key), unescape(&value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_through_its_three_layers() {
        // What the JavaScript SDK sends for `{"a b": "c/d", "plain": "1"}`, after the parameter is decoded.
        let map = metadata("a%2520b=c%252Fd&plain=1");
        assert_eq!(map, BTreeMap::from([("a b".into(), "c/d".into()), ("plain".into(), "1".into())]));
    }

    #[test]
    fn pages_follow_each_other_without_gaps_in_both_orders() {
        let key = |item: &u64| (*item / 2, format!("i{item:03}"));
        for ascending in [true, false] {
            let mut all: Vec<u64> = (0..250).collect();
            if !ascending {
                all.reverse();
            }
            let mut query = HashMap::from([("limit".to_owned(), "7".to_owned())]);
            let mut seen = Vec::new();
            loop {
                let Ok(page) = page(all.clone(), &query, ascending, key) else { panic!("refused") };
                seen.extend(page.items);
                let Some(next) = page.next else { break };
                query.insert("nextToken".to_owned(), next);
            }
            assert_eq!(seen, all);
            assert!(page(all, &query, !ascending, key).is_err(), "a token of the other order");
        }
        for bad in ["0", "101", "x", "-1"] {
            let query = HashMap::from([("limit".to_owned(), bad.to_owned())]);
            assert!(page(vec![1], &query, true, key).is_err(), "{bad}");
        }
    }
}
