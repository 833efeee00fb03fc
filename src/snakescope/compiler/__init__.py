"""From a checked pipeline to the text of its Snakemake rules. Pure: models in, ``{path: text}`` out.

Each step becomes one ordinary rule. What depends on the row is looked up in the plan when Snakemake asks for
it; everything else stands in the rule. Reads no clock, no environment and no file.
"""

from __future__ import annotations

from pathlib import Path

from snakescope import layout
from snakescope.compiler.facts import facts_text, json_text, plan, step_facts
from snakescope.compiler.rule import Lookup, Places, build_rule
from snakescope.compiler.text import macro_text, rule_text
from snakescope.pipeline import Pipeline

__all__ = ["Lookup", "Places", "build_rule", "compile_pipeline", "facts_text", "json_text", "plan", "step_facts"]


def compile_pipeline(pipeline: Pipeline, study: Path) -> dict[str, str]:
    """Compile a pipeline.

    Parameters
    ----------
    pipeline
        A checked pipeline.
    study
        Study folder; programs below it are named relative to it.

    Returns
    -------
    Text of each generated file by its path relative to the study: a rule, the constant part of its records and its
    macro, if it has one, for each step, and the plan.
    """
    name = pipeline.spec.name
    rules = [build_rule(pipeline, step, Places(study)) for step in pipeline.steps.values()]
    texts = {layout.rule_file(name, rule.step.name): rule_text(pipeline, rule) for rule in rules}
    texts |= {
        layout.step_facts_file(name, rule.step.name): facts_text(step_facts(pipeline, rule.step)) for rule in rules
    }
    texts |= {
        layout.macro_file(name, step.name): macro_text(name, step)
        for step in pipeline.steps.values()
        if step.tool.macro
    }
    texts[layout.plan_file(name)] = json_text(plan(pipeline, rules))
    return texts
