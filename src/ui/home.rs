//! The first page: the prompt, samples that work, and the projects.

use crate::domain::{ApiError, ProjectId, ProjectSummary, SandboxPhase};
use crate::server_fns::{create_project, delete_project, list_projects};
use crate::ui::browser;
use crate::ui::chat::{Choice, Composer, Outgoing, Told};
use crate::ui::kit::{Ago, Confirm, Icon, Notice, TopBar, effect, live, on};
use crate::ui::page::{ModelOption, ProjectList, Sample};
use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;

/// So many projects are seen at a glance.
const FEW: usize = 8;

/// The page at `/`.
#[component]
pub fn Home(
    /// Projects, newest first.
    projects: ProjectList,
    /// Models to choose from.
    models: Vec<ModelOption>,
    /// How much the first of them shall think.
    effort: String,
    /// Prompts that are known to work.
    samples: Vec<Sample>,
    /// Whether the recorded demo answers.
    demo: bool,
) -> impl IntoView {
    let failure = RwSignal::new(None::<ApiError>);
    let busy = RwSignal::new(false);
    let choice = Choice::new(models.first().map(|m| m.id.clone()).unwrap_or_default(), effort);
    let told = RwSignal::new(None);
    let create = move |sent: Outgoing, typed: bool| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            match create_project(sent.text.clone(), sent.files.clone(), choice.id()).await {
                Ok(project) => {
                    // A sample leaves what was typed.
                    if typed {
                        told.set(Some(Told::Arrived(sent)));
                    }
                    let _ = location().set_href(&format!("/p/{project}"));
                }
                Err(error) => {
                    failure.set(Some(error));
                    busy.set(false);
                }
            }
        });
    };
    let start = Callback::new(move |sent| create(sent, true));
    let sample = Callback::new(move |sent| create(sent, false));
    view! {
        <TopBar />
        <main class="home">
            <section class="hero">
                <h1>"What shall we build?"</h1>
                <form
                    method="post"
                    action="/new"
                    enctype="multipart/form-data"
                    on:submit=on(move |event: SubmitEvent| event.prevent_default())
                >
                    <Composer
                        label="What shall we build?"
                        placeholder="A booking page for a small yoga studio…"
                        draft="draft:home"
                        models
                        choice
                        busy=busy.into()
                        told
                        on_send=start
                        autofocus=true
                    />
                </form>
                <Notice error=failure />
                <Samples samples busy start=sample />
                {demo.then(|| view! { <DemoNote /> })}
            </section>
            <Projects projects />
        </main>
    }
    .into_any()
}

#[component]
fn Samples(samples: Vec<Sample>, busy: RwSignal<bool>, start: Callback<Outgoing>) -> impl IntoView {
    let buttons = samples
        .into_iter()
        .map(|sample| {
            let Sample { title, stack, prompt } = sample;
            view! {
                <button
                    class="sample"
                    type="button"
                    title=prompt.clone()
                    disabled=live::flag(move || busy.get())
                    on:click=on(move |_| start.run(Outgoing { text: prompt.clone(), files: Vec::new() }))
                >
                    <span>{title}</span>
                    <small>{stack}</small>
                </button>
            }
        })
        .collect_view();
    view! {
        <div class="samples" role="group" aria-label="Sample prompts">
            {buttons}
        </div>
        <p class="import"><a class="link" href="/import">"Or import a repository, an archive or a folder"</a></p>
    }
    .into_any()
}

#[component]
fn DemoNote() -> impl IntoView {
    view! {
        <p class="demo-note">
            <Icon name="info" />
            <span>
                "No model is connected: recorded answers build the samples above, for real, in a sandbox. To build anything else, "
                <a href="/settings/models">"add a model"</a>"."
            </span>
        </p>
    }
    .into_any()
}

/// The cards, with a search where there are many.
#[component]
fn Projects(projects: ProjectList) -> impl IntoView {
    let ProjectList { shown, total, search, more } = projects;
    let searched = !search.is_empty();
    let none = searched && shown.is_empty();
    let find = (searched || total > FEW).then(|| view! { <Search search=search.clone() /> });
    let list = RwSignal::new(shown);
    let asked = RwSignal::new(None::<(ProjectId, String)>);
    let asking = RwSignal::new(false);
    let failure = RwSignal::new(None::<ApiError>);
    // Counts deletions, so that an answer from before one does not bring the project back.
    let gone = RwSignal::new(0u32);
    effect(move || follow(list, gone, search.clone()));
    let remove = Callback::new(move |()| {
        let Some((id, _)) = asked.get_untracked() else { return };
        spawn_local(async move {
            match delete_project(id.clone()).await {
                Ok(()) => {
                    gone.update(|gone| *gone += 1);
                    list.update(|list| list.retain(|p| p.id != id));
                }
                Err(error) => failure.set(Some(error)),
            }
        });
    });
    let ask = Callback::new(move |(id, name): (ProjectId, String)| {
        asked.set(Some((id, name)));
        asking.set(true);
    });
    let title = move || {
        let name = asked.get().map(|(_, name)| name).unwrap_or_default();
        format!("Delete “{name}”?")
    };
    view! {
        <section
            class="projects"
            aria-labelledby="projects-title"
            hidden=live::flag(move || !searched && list.with(Vec::is_empty))
        >
            <div class="row between">
                <h2 id="projects-title">"Your projects"</h2>
                {find}
            </div>
            <Notice error=failure />
            {none.then(|| view! { <p class="muted">"No project has these words in its name or its first message."</p> })}
            <ul class="cards">
                {live::each(
                    move || list.get(),
                    // A card is drawn anew when what it shows has changed.
                    |project| format!("{} {} {:?} {}", project.id, project.working, project.sandbox, project.name),
                    move |project| view! { <ProjectCard project on_delete=ask /> },
                )}
            </ul>
            {more.map(|href| view! { <p class="more"><a class="button" href=href>"More projects"</a></p> })}
            <Confirm
                open=asking
                title=Signal::derive(title)
                text="Its conversation, files and logs are deleted from this server. This cannot be undone."
                action="Delete project"
                on_confirm=remove
            />
        </section>
    }
    .into_any()
}

#[component]
fn Search(search: String) -> impl IntoView {
    let all = (!search.is_empty()).then(|| view! { <a class="link" href="/">"All projects"</a> });
    view! {
        <form class="row" action="/" role="search">
            {all}
            <input class="input" type="search" name="q" aria-label="Search projects" placeholder="Search projects" value=search />
            <button class="button">"Search"</button>
        </form>
    }
    .into_any()
}

/// Looks at the projects again when the page is looked at again, and every few seconds while one of them works.
fn follow(list: RwSignal<Vec<ProjectSummary>>, gone: RwSignal<u32>, search: String) {
    let look = move || {
        let (words, most, before) = (search.clone(), list.with_untracked(Vec::len), gone.get_untracked());
        spawn_local(async move {
            // An old list is better than an error over it.
            if let Ok(now) = list_projects(words, most.max(ProjectList::PAGE)).await
                && gone.get_untracked() == before
                && list.with_untracked(|list| *list != now)
            {
                list.set(now);
            }
        });
    };
    let again = look.clone();
    browser::on_return(Box::new(look));
    let tick = move || {
        let works = |p: &ProjectSummary| p.working || p.sandbox == Some(SandboxPhase::Creating);
        if !document().hidden() && list.with_untracked(|list| list.iter().any(works)) {
            again();
        }
    };
    // It lives as long as the page.
    let _ = set_interval_with_handle(tick, std::time::Duration::from_secs(4));
}

#[component]
fn ProjectCard(project: ProjectSummary, on_delete: Callback<(ProjectId, String)>) -> impl IntoView {
    let (state, words) = match (project.working, project.sandbox) {
        (true, _) => ("working", "working"),
        (_, Some(SandboxPhase::Running)) => ("running", "running"),
        (_, Some(SandboxPhase::Creating)) => ("working", "starting"),
        (_, Some(SandboxPhase::Asleep)) => ("asleep", "asleep"),
        (_, Some(SandboxPhase::Failed)) => ("failed", "failed"),
        (_, None) => ("idle", "new"),
    };
    let drawn = |c: &char| !(c.is_ascii_punctuation() || c.is_whitespace());
    let initial: String = project.name.chars().find(drawn).into_iter().collect();
    // One of four dunes, the same for a project on every visit.
    let dune = project.id.as_str().bytes().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b))) % 4;
    let href = format!("/p/{}", project.id);
    let label = format!("Delete {}", project.name);
    let asked = (project.id.clone(), project.name.clone());
    view! {
        <li class="card project" data-state=state>
            <a class="project-link" href=href>
                <span class="thumb" data-dune=dune.to_string() aria-hidden="true">
                    <span>{initial}</span>
                </span>
                <span class="project-name">{project.name.clone()}</span>
                <span class="project-prompt">{project.prompt}</span>
            </a>
            <div class="project-foot">
                <span class="dot" data-state=state></span>
                <span>{words}</span>
                <Ago at=project.updated_at />
                <button class="icon-button" type="button" aria-label=label.clone() title=label on:click=on(move |_| on_delete.run(asked.clone()))>
                    <Icon name="trash" />
                </button>
            </div>
        </li>
    }
    .into_any()
}
