//! Closures of one type each, for views.
//!
//! leptos compiles a node, an attribute or a listener anew for every closure it is given, and a page has hundreds: that
//! was a quarter of the browser's download. Boxed, all closures that return the same share that code, for a pointer's
//! price when they run. So views use these in place of bare closures, `Effect::new` and `Memo::new`. It must not know
//! any component.

use leptos::prelude::*;
use std::sync::{Arc, Mutex};

/// A part of a view that follows signals: a child, or an attribute's value.
pub type Live<T> = Arc<Mutex<dyn FnMut() -> T + Send>>;

/// A child that changes.
pub fn view<V: IntoAny + 'static>(draw: impl Fn() -> V + Send + 'static) -> Live<AnyView> {
    Arc::new(Mutex::new(move || draw().into_any()))
}

/// Text that changes, as a child or an attribute.
pub fn text<S: Into<String> + 'static>(text: impl Fn() -> S + Send + 'static) -> Live<String> {
    Arc::new(Mutex::new(move || text().into()))
}

/// An attribute that is there while there is a text.
pub fn maybe<S: Into<String> + 'static>(text: impl Fn() -> Option<S> + Send + 'static) -> Live<Option<String>> {
    Arc::new(Mutex::new(move || text().map(Into::into)))
}

/// An attribute that is there or not, or a class.
pub fn flag(flag: impl Fn() -> bool + Send + 'static) -> Live<bool> {
    Arc::new(Mutex::new(flag))
}

/// What an event does.
pub fn on<E: 'static>(act: impl FnMut(E) + 'static) -> Box<dyn FnMut(E)> {
    Box::new(act)
}

/// Runs in the browser, at first and whenever what it read has changed.
pub fn effect(run: impl Fn() + 'static) {
    let run: Box<dyn Fn()> = Box::new(run);
    Effect::new(move |_: Option<()>| run());
}

/// A value that is worked out again when what it read has changed, and wakes its readers only if it differs.
pub fn memo<T: PartialEq + Send + Sync + 'static>(value: impl Fn() -> T + Send + Sync + 'static) -> Memo<T> {
    let value: Box<dyn Fn() -> T + Send + Sync> = Box::new(value);
    Memo::new(move |_| value())
}

/// One of a list, before it is drawn.
struct Row {
    key: String,
    draw: Box<dyn FnOnce() -> AnyView + Send>,
}

/// A list whose rows stay what they are while their key does.
pub fn each<T, V>(
    items: impl Fn() -> Vec<T> + Send + 'static,
    key: impl Fn(&T) -> String + Send + 'static,
    view: impl Fn(T) -> V + Clone + Send + 'static,
) -> AnyView
where
    T: Send + 'static,
    V: IntoAny + 'static,
{
    let row = move |item: T| {
        let view = view.clone();
        Row { key: key(&item), draw: Box::new(move || view(item).into_any()) }
    };
    rows(Box::new(move || items().into_iter().map(&row).collect()))
}

fn rows(rows: Box<dyn Fn() -> Vec<Row> + Send>) -> AnyView {
    view! { <For each=rows key=|row| row.key.clone() children=|row: Row| (row.draw)() /> }.into_any()
}
