//! The running app beside the chat: a frame on its own origin, a bar to steer it, and what to show when there is none.

mod frame;
mod waiting;

use crate::domain::{Change, PortView};
use crate::server_fns::send_message;
use crate::ui::kit::{Icon, live, memo, on};
use crate::ui::workbench::Workbench;
use frame::Frame;
use leptos::ev::{Event, SubmitEvent};
use leptos::prelude::*;
use waiting::Waiting;

/// Widths the app can be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Full,
    Tablet,
    Phone,
}

/// The Preview pane.
#[component]
pub fn Preview() -> impl IntoView {
    let bench = Workbench::here();
    let frame = Frame::new(bench.store);
    let device = RwSignal::new(Device::Full);
    let has_app = memo(move || frame.src.with(Option::is_some));
    let width = move || match device.get() {
        Device::Full => "full",
        Device::Tablet => "tablet",
        Device::Phone => "phone",
    };
    frame.listen();
    view! {
        <div class="preview" data-app=live::text(move || has_app.get().to_string())>
            <Toolbar frame device />
            <div class="stage" data-width=live::text(width)>
                {live::view(move || {
                    has_app.get().then(|| {
                        view! {
                            <iframe
                                node_ref=frame.element
                                title="Preview"
                                src=frame.src
                                sandbox="allow-scripts allow-forms allow-same-origin allow-modals allow-popups allow-downloads"
                                referrerpolicy="no-referrer"
                            ></iframe>
                        }
                    })
                })}
                <Waiting frame />
            </div>
        </div>
    }
    .into_any()
}

#[component]
fn Toolbar(frame: Frame, device: RwSignal<Device>) -> impl IntoView {
    let off = move || frame.src.with(Option::is_none);
    let next = move |_| {
        device.update(|d| {
            *d = match d {
                Device::Full => Device::Tablet,
                Device::Tablet => Device::Phone,
                Device::Phone => Device::Full,
            }
        });
    };
    let device_label = move || match device.get() {
        Device::Full => "Width: full",
        Device::Tablet => "Width: tablet, 768 pixels",
        Device::Phone => "Width: phone, 390 pixels",
    };
    let device_icon = Signal::derive(move || match device.get() {
        Device::Full => "desktop",
        Device::Tablet => "tablet",
        Device::Phone => "phone",
    });
    let button = move |label: &'static str, icon: &'static str, kind: &'static str| {
        view! {
            <button class="icon-button" type="button" aria-label=label title=label disabled=live::flag(off) on:click=on(move |_| frame.steer(kind))>
                <Icon name=icon />
            </button>
        }
    };
    view! {
        <div class="bar" role="toolbar" aria-label="Preview">
            {button("Back", "back", "back")}
            {button("Forward", "forward", "forward")}
            {button("Reload", "reload", "reload")}
            <form
                class="address"
                on:submit=on(move |event: SubmitEvent| {
                    event.prevent_default();
                    frame.go();
                })
            >
                <Ports frame />
                <input
                    class="path"
                    aria-label="Path"
                    spellcheck="false"
                    autocomplete="off"
                    disabled=live::flag(off)
                    prop:value=live::text(move || frame.path.get())
                    on:input=on(move |event: Event| frame.path.set(event_target_value(&event)))
                />
            </form>
            <Faults frame />
            <button class="icon-button width" type="button" aria-label=live::text(device_label) title=live::text(device_label) disabled=live::flag(off) on:click=on(next)>
                <Icon name=device_icon />
            </button>
            <a
                class="icon-button"
                target="_blank"
                rel="noreferrer"
                aria-label="Open in a new tab"
                title="Open in a new tab"
                // Without an address it cannot be reached by Tab.
                href=live::maybe(move || (!off()).then(|| frame.here()))
                aria-disabled=live::maybe(move || off().then_some("true"))
            >
                <Icon name="external" />
            </a>
        </div>
    }
    .into_any()
}

/// The app's port, or a choice among several.
#[component]
fn Ports(frame: Frame) -> impl IntoView {
    let bench = Workbench::here();
    let ports = memo(move || bench.store.read(Change::Preview, |state| state.ports.clone()));
    live::view(move || {
        let ports: Vec<PortView> = ports.get();
        if ports.len() < 2 {
            let text = move || frame.port.get().map(|port| format!(":{port}")).unwrap_or_default();
            return view! { <span class="port">{live::text(text)}</span> }.into_any();
        }
        let at_first = frame.port.get_untracked();
        let options = ports
            .iter()
            .map(|PortView { port, .. }| {
                let port = *port;
                let shown = live::flag(move || frame.port.get() == Some(port));
                view! { <option value=port.to_string() selected=Some(port) == at_first prop:selected=shown>{format!(":{port}")}</option> }
            })
            .collect_view();
        let choose = move |event: Event| {
            let wanted = event_target_value(&event).parse::<u16>().ok();
            if let Some(port) = ports.iter().find(|p| Some(p.port) == wanted) {
                frame.show(port.port, &port.url);
            }
        };
        view! {
            <select class="port" aria-label="Port" on:change=on(choose)>
                {options}
            </select>
        }
        .into_any()
    })
    .into_any()
}

/// Errors the app reported, with one click to have them fixed.
#[component]
fn Faults(frame: Frame) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let pending = RwSignal::new(false);
    let fix = move |_| {
        let sent = frame.faults.get_untracked();
        let faults = sent.join("\n");
        let text = format!("The preview reports this error, please fix it:\n\n```\n{faults}\n```");
        bench.once(pending, send_message(store.id(), text, Vec::new(), bench.choice.id()), move |done| {
            if done {
                frame.faults.update(|faults| faults.retain(|fault| !sent.contains(fault)));
            }
        });
        bench.phone_chat.set(true);
    };
    let waits = move || pending.get().then_some("true");
    live::view(move || {
        let faults = frame.faults.get();
        (!faults.is_empty()).then(|| {
            let words = if faults.len() == 1 { "1 error".to_owned() } else { format!("{} errors", faults.len()) };
            view! {
                <button class="faults" type="button" title=faults.join("\n") aria-disabled=live::maybe(waits) on:click=on(fix)>
                    <Icon name="alert" />
                    <span>{words}</span>
                    <strong>"Fix it"</strong>
                </button>
            }
        })
    })
    .into_any()
}
