//! `update_plan`: the plan of a larger piece of work, shown to the person as a list that advances.
//!
//! The one tool that touches nothing and so is no task: the agent records what it says as an event.

use super::{Planned, ToolError, args, step_check};
use crate::domain::{PlanState, PlanStep};
use crate::llm::ToolSpec;
use serde_json::{Value, json};

/// Its name.
pub(super) const NAME: &str = "update_plan";
/// Steps of a plan.
const STEPS_MAX: usize = 20;
/// Characters of a step.
const TITLE_MAX: usize = 120;

/// What the model is told of it. Name and fields are those that models know from other agents.
pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: NAME,
        description: "Show the person your plan and how far you are. For work of several steps: call it before the first \
                      one, and again whenever a step is done, each time with the whole list. At most one step is \
                      in_progress. Not for small changes.",
        parameters: json!({
            "type": "object",
            "properties": {
                "plan": {
                    "type": "array",
                    "description": "Three to eight steps in order, each in a few plain words",
                    "items": {
                        "type": "object",
                        "properties": {
                            "step": {"type": "string"},
                            "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]},
                            "check": step_check::schema(),
                        },
                        "required": ["step", "status"],
                    },
                },
            },
            "required": ["plan"],
        }),
    }
}

/// The plan in a call's arguments. A check that cannot be read is left out.
pub(super) fn read(arguments: &Value) -> Result<Planned, ToolError> {
    let wrong = |why: &str| ToolError::Model(format!("\"plan\" {why}"));
    let list = arguments.get("plan").and_then(Value::as_array).ok_or_else(|| wrong("must be a list of steps"))?;
    if list.is_empty() || list.len() > STEPS_MAX {
        return Err(wrong(&format!("must have 1 to {STEPS_MAX} steps, not {}", list.len())));
    }
    let mut planned = Planned::default();
    for step in list {
        let title: String = args::words(step, "step")?.trim().chars().take(TITLE_MAX).collect();
        let state = match args::words(step, "status")? {
            "pending" | "todo" => PlanState::Todo,
            "in_progress" | "doing" => PlanState::Doing,
            "completed" | "done" => PlanState::Done,
            other => {
                let why = format!("has the status \"{other}\"; it must be pending, in_progress or completed");
                return Err(wrong(&why));
            }
        };
        let check = step_check::read(step).unwrap_or_else(|why| {
            planned.left_out.push(format!("The check of \"{title}\" was left out: {why}."));
            None
        });
        planned.steps.push(PlanStep { title, state, check });
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_and_a_wrong_one_is_answered_with_what_is_wrong() {
        let plan =
            json!({"plan": [{"step": " List ", "status": "completed"}, {"step": "Form", "status": "in_progress"}]});
        let steps = read(&plan).unwrap().steps;
        assert_eq!(
            (steps[0].title.as_str(), steps[0].state, steps[1].state),
            ("List", PlanState::Done, PlanState::Doing)
        );
        for (wrong, words) in [
            (json!({}), "list of steps"),
            (json!({"plan": []}), "1 to 20"),
            (json!({"plan": [{"step": "x", "status": "soon"}]}), "pending, in_progress or completed"),
            (json!({"plan": [{"status": "pending"}]}), "\"step\""),
        ] {
            let error = read(&wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let many = vec![json!({"step": "x", "status": "pending"}); 1_000];
        assert!(read(&json!({"plan": many})).unwrap_err().to_string().contains("1 to 20 steps, not 1000"));
    }

    #[test]
    fn a_wrong_check_loses_itself_but_not_the_plan() {
        let step = |title: &str, check: Value| json!({"step": title, "status": "pending", "check": check});
        let plan = json!({"plan": [step("List", json!({"page": "/", "contains": "Milk"})), step("Form", json!("/"))]});
        let Planned { steps, left_out } = read(&plan).unwrap();
        assert!(steps[0].check.is_some() && steps[1].check.is_none());
        assert_eq!(left_out.len(), 1);
        assert!(left_out[0].contains("\"Form\"") && left_out[0].contains("must be an object"), "{left_out:?}");
    }
}
