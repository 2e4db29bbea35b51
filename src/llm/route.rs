//! Which server a model's id means, and how much the model shall think.
//!
//! Pure, over what each server listed when it was last read. Whoever lists an id has it, the configured provider before
//! all others: what a person calls an endpoint never takes a model away from someone else. Only an id that nobody lists
//! is given by what it begins with.

use super::catalog::ModelSource;
use super::endpoint::Endpoint;
use super::offered::OfferedModel;
use std::net::IpAddr;
use std::time::Duration;

/// Models of one server.
#[derive(Clone)]
pub(super) struct Group {
    /// What the ids of its models begin with; empty for the provider's.
    pub prefix: String,
    /// Who it is.
    pub source: ModelSource,
    /// Where it is.
    pub endpoint: Endpoint,
    /// How long its list is waited for.
    pub timeout: Duration,
    /// What it listed when it was last read; none if that never worked.
    pub models: Option<Vec<OfferedModel>>,
}

/// All servers: the provider, then those that were added, then those of this machine.
#[derive(Clone, Default)]
pub(super) struct Routes(pub Vec<Group>);

/// Where a model's id leads.
pub(super) struct Route<'a> {
    /// The server.
    pub group: &'a Group,
    /// The id its server knows.
    pub wire: &'a str,
    /// How much it shall think.
    pub effort: Option<&'a str>,
    /// What its server's list tells of it.
    pub offered: Option<&'a OfferedModel>,
}

impl Group {
    pub fn new(prefix: &str, source: ModelSource, endpoint: Endpoint, timeout: Duration) -> Self {
        Self { prefix: prefix.to_owned(), source, endpoint, timeout, models: None }
    }

    /// Whether nobody is billed for asking this model, as far as can be known: it is on a server of this machine, or on one
    /// that was added and is in the own network or wants no key; and no price says otherwise.
    pub fn is_free(&self, model: &OfferedModel) -> bool {
        let priced = model.price.map(|price| price.input > 0.0 || price.output > 0.0);
        let unbilled = match self.source {
            ModelSource::Local { .. } => true,
            ModelSource::Endpoint { .. } => {
                priced == Some(false) || self.endpoint.api_key.is_none() || is_at_home(&self.endpoint.base_url)
            }
            ModelSource::Provider | ModelSource::Demo => false,
        };
        unbilled && priced != Some(true)
    }

    /// What stands behind the prefix, if the id begins with it.
    fn rest<'a>(&self, id: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() { Some(id) } else { id.strip_prefix(&*self.prefix)?.strip_prefix('/') }
    }

    /// What ids begin with that mean this server whatever others list; the provider needs none.
    fn own_prefix(&self) -> Option<String> {
        match self.source {
            ModelSource::Endpoint { .. } => Some(format!("@{}/", self.prefix)),
            ModelSource::Local { .. } => Some(format!("@local.{}/", self.prefix)),
            ModelSource::Provider | ModelSource::Demo => None,
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.prefix == other.prefix && is_same_server(&self.endpoint.base_url, &other.endpoint.base_url)
    }

    fn lists(&self, wire: &str) -> Option<&OfferedModel> {
        self.models.as_deref()?.iter().find(|model| model.id == wire)
    }

    /// Takes off how much the model shall think. Tags look the same (`phi3:medium`), so what is listed counts first, and
    /// on servers where tags are usual an unknown ending stays where it is: its server then says what is missing.
    fn read<'a>(&'a self, wire: &'a str) -> Route<'a> {
        let whole = |offered| Route { group: self, wire, effort: None, offered };
        if let Some(offered) = self.lists(wire) {
            return whole(Some(offered));
        }
        let Some((base, effort)) = ending(wire) else { return whole(None) };
        // Ollama lists a model without a tag as its latest.
        let listed = self.lists(base).or_else(|| self.lists(&format!("{base}:latest")));
        if listed.is_none() && is_at_home(&self.endpoint.base_url) {
            return whole(None);
        }
        Route { group: self, wire: base, effort: Some(effort), offered: listed }
    }
}

impl Routes {
    /// Where this id leads; none if nobody can have it.
    pub fn find<'a>(&'a self, id: &'a str) -> Option<Route<'a>> {
        let bare = ending(id).map(|(base, _)| base);
        let (group, wire) = self
            .listed(id)
            .or_else(|| self.named(id))
            .or_else(|| self.listed(bare?).and_then(|(group, _)| Some((group, group.rest(id)?))))
            .or_else(|| self.begun(id))?;
        Some(group.read(wire))
    }

    /// An id without how much the model shall think, and that.
    pub fn split<'a>(&'a self, id: &'a str) -> (&'a str, Option<&'a str>) {
        let found = self.find(id).and_then(|route| route.effort).and(ending(id));
        found.map_or((id, None), |(base, effort)| (base, Some(effort)))
    }

    /// The id under which a server's model is offered: its own prefix where the plain id is someone else's.
    pub fn id_of(&self, group: &Group, wire: &str) -> String {
        let plain = if group.prefix.is_empty() { wire.to_owned() } else { format!("{}/{wire}", group.prefix) };
        let owner = self.listed(&plain).map(|(owner, _)| (&owner.prefix, &owner.source));
        match group.own_prefix() {
            Some(own) if owner.is_some_and(|owner| owner != (&group.prefix, &group.source)) => format!("{own}{wire}"),
            _ => plain,
        }
    }

    /// Whether the lists must be read before it is known where an id leads.
    pub fn is_open(&self, id: &str) -> bool {
        let unread = |group: &&Group| group.models.is_none() && group.rest(id).is_some();
        let claims = self.0.iter().filter(|group| group.rest(id).is_some()).count();
        self.0.iter().any(|group| unread(&group)) && (claims > 1 || ending(id).is_some())
    }

    /// Whether a model answers that is neither of this machine nor the demo.
    pub fn has_remote(&self) -> bool {
        self.0.iter().any(|group| !matches!(group.source, ModelSource::Local { .. }))
    }

    /// Remembers what a server lists, if it is still there.
    pub fn learn(&mut self, read: &Group, models: Vec<OfferedModel>) {
        if let Some(group) = self.0.iter_mut().find(|group| group.is(read)) {
            group.models = Some(models);
        }
    }

    /// Takes over what is known of servers that stayed.
    pub fn recall(&mut self, before: Self) {
        for group in before.0 {
            if let Some(have) = self.0.iter_mut().find(|have| have.is(&group)) {
                have.models = group.models;
            }
        }
    }

    /// Who has models that begin with this: the provider, or another server of this machine than the one at `url`.
    pub fn owner_of_prefix(&self, prefix: &str, url: &str) -> Option<&ModelSource> {
        let makers = |group: &&Group| group.prefix.is_empty() && group.has_maker(prefix);
        let local = |group: &&Group| {
            let here = matches!(group.source, ModelSource::Local { .. });
            here && group.prefix == prefix && !is_same_server(&group.endpoint.base_url, url)
        };
        self.0.iter().find(|group| makers(group) || local(group)).map(|group| &group.source)
    }

    fn listed<'a>(&'a self, id: &'a str) -> Option<(&'a Group, &'a str)> {
        self.0.iter().find_map(|group| {
            let wire = group.rest(id)?;
            group.lists(wire).map(|_| (group, wire))
        })
    }

    /// By the prefix that means one server only.
    fn named<'a>(&'a self, id: &'a str) -> Option<(&'a Group, &'a str)> {
        self.0.iter().find_map(|group| Some((group, id.strip_prefix(&*group.own_prefix()?)?)))
    }

    /// By what it begins with: a maker whose models the provider has, a server with that prefix, or the provider, which
    /// may have more than it lists.
    fn begun<'a>(&'a self, id: &'a str) -> Option<(&'a Group, &'a str)> {
        let provider = || self.0.iter().find(|group| group.prefix.is_empty());
        let maker = id.split_once('/').map(|(maker, _)| maker);
        let known = provider().filter(|group| maker.is_some_and(|maker| group.has_maker(maker)));
        let by_prefix = || self.0.iter().find(|group| !group.prefix.is_empty() && group.rest(id).is_some());
        let group = known.or_else(by_prefix).or_else(provider)?;
        Some((group, group.rest(id)?))
    }
}

impl Group {
    fn has_maker(&self, maker: &str) -> bool {
        let of = |model: &OfferedModel| model.id.split_once('/').is_some_and(|(have, _)| have == maker);
        self.models.as_deref().unwrap_or_default().iter().any(of)
    }
}

/// A model's id without how much it shall think, and that.
fn ending(id: &str) -> Option<(&str, &str)> {
    id.rsplit_once(':').filter(|(_, effort)| matches!(*effort, "low" | "medium" | "high"))
}

/// Whether a server is on this machine or in its own network.
fn is_at_home(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => {
            let ends = [".localhost", ".local", ".lan", ".internal"];
            !host.is_empty() && (!host.contains('.') || ends.iter().any(|end| host.ends_with(end)))
        }
    }
}

/// Whether two base URLs are the same server's.
pub(super) fn is_same_server(one: &str, other: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').replacen("//localhost", "//127.0.0.1", 1);
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(prefix: &str, source: ModelSource, url: &str, models: Option<&[&str]>) -> Group {
        let endpoint = Endpoint { base_url: url.to_owned(), api_key: None };
        let offered = |id: &&str| OfferedModel { id: (*id).to_owned(), ..OfferedModel::default() };
        let models = models.map(|ids| ids.iter().map(offered).collect());
        Group { models, ..Group::new(prefix, source, endpoint, Duration::ZERO) }
    }

    fn provider(models: Option<&[&str]>) -> Group {
        group("", ModelSource::Provider, "https://gateway.example/v1", models)
    }

    fn added(prefix: &str, models: Option<&[&str]>) -> Group {
        let source = ModelSource::Endpoint { name: prefix.to_owned() };
        group(prefix, source, "https://added.example/v1", models)
    }

    fn ollama(models: Option<&[&str]>) -> Group {
        group("ollama", ModelSource::Local { name: "Ollama".to_owned() }, "http://127.0.0.1:11434/v1", models)
    }

    /// Prefix of the server, id there, effort.
    fn at<'a>(routes: &'a Routes, id: &'a str) -> (&'a str, &'a str, &'a str) {
        let route = routes.find(id).unwrap();
        (&route.group.prefix, route.wire, route.effort.unwrap_or_default())
    }

    #[test]
    fn an_endpoint_takes_no_id_that_the_provider_lists_and_keeps_what_is_its_own() {
        let list: &[&str] = &["openai/gpt-5"];
        let routes = Routes(vec![provider(Some(list)), added("openai", Some(&["gpt-5", "tuned"]))]);
        assert_eq!(at(&routes, "openai/gpt-5"), ("", "openai/gpt-5", ""));
        assert_eq!(at(&routes, "openai/gpt-5:high"), ("", "openai/gpt-5", "high"));
        assert_eq!(at(&routes, "openai/not-listed"), ("", "openai/not-listed", ""));
        assert_eq!(at(&routes, "openai/tuned"), ("openai", "tuned", ""));
        let ids: Vec<_> = ["gpt-5", "tuned"].iter().map(|wire| routes.id_of(&routes.0[1], wire)).collect();
        assert_eq!(ids, ["@openai/gpt-5", "openai/tuned"]);
        assert_eq!(at(&routes, "@openai/gpt-5:low"), ("openai", "gpt-5", "low"));
        assert_eq!(routes.owner_of_prefix("openai", ""), Some(&ModelSource::Provider));
        assert_eq!(routes.owner_of_prefix("mine", ""), None);
    }

    #[test]
    fn an_endpoint_of_an_earlier_version_that_is_called_like_a_local_server_hides_nothing() {
        let routes = Routes(vec![added("ollama", Some(&["llama3"])), ollama(Some(&["llama3", "phi3"]))]);
        assert_eq!(routes.find("ollama/llama3").unwrap().group.source, routes.0[0].source);
        assert_eq!(routes.id_of(&routes.0[1], "llama3"), "@local.ollama/llama3");
        assert_eq!(routes.find("@local.ollama/llama3").unwrap().group.source, routes.0[1].source);
        assert_eq!(routes.find("ollama/phi3").unwrap().group.source, routes.0[1].source);
    }

    #[test]
    fn a_tag_that_reads_like_an_effort_is_a_tag_where_it_is_listed_or_tags_are_usual() {
        let routes = Routes(vec![ollama(Some(&["phi3:medium", "qwen3:latest", "qwen3:8b"]))]);
        assert_eq!(at(&routes, "ollama/phi3:medium"), ("ollama", "phi3:medium", ""));
        assert_eq!(at(&routes, "ollama/phi3:medium:high"), ("ollama", "phi3:medium", "high"));
        assert_eq!(at(&routes, "ollama/qwen3:low"), ("ollama", "qwen3", "low"));
        assert_eq!(at(&routes, "ollama/qwen3:8b:low"), ("ollama", "qwen3:8b", "low"));
        // Neither is there: its server is to say so under the name that was typed.
        assert_eq!(at(&routes, "ollama/mistral:low"), ("ollama", "mistral:low", ""));
        assert_eq!(at(&Routes(vec![ollama(None)]), "ollama/phi3:medium"), ("ollama", "phi3:medium", ""));
        // A gateway does not list all it has.
        assert_eq!(at(&Routes(vec![provider(Some(&["a"]))]), "b:high"), ("", "b", "high"));
        assert_eq!(at(&Routes(vec![provider(None)]), "b:8b"), ("", "b:8b", ""));
    }

    #[test]
    fn lists_are_read_first_where_they_decide() {
        let routes = Routes(vec![provider(None), added("openai", None), ollama(None)]);
        assert!(routes.is_open("openai/gpt-5") && routes.is_open("x:high") && routes.is_open("ollama/phi3"));
        assert!(!routes.is_open("x") && !Routes(vec![provider(Some(&[]))]).is_open("x:high"));
    }

    #[test]
    fn what_is_at_home_is_told_by_the_address() {
        for url in
            ["http://127.0.0.1:1/v1", "http://[::1]/v1", "http://10.0.0.7/v1", "http://box/v1", "http://b.local/"]
        {
            assert!(is_at_home(url), "{url}");
        }
        for url in ["https://api.openai.com/v1", "http://8.8.8.8/v1", "nonsense"] {
            assert!(!is_at_home(url), "{url}");
        }
        assert!(is_same_server("http://localhost:1/v1/", "http://127.0.0.1:1/v1"));
    }
}
