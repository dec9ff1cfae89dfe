# SPDX-License-Identifier: Apache-2.0
"""ACL lines and conditions: words -> ``Criterion``, ``Condition`` (manual 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Final

from penstock.rules.argument_values import check_fetch
from penstock.rules.arguments import RuleError, name_end, read_arguments
from penstock.rules.expressions import CASTS, Read, read_converters, read_expression
from penstock.rules.model import (
    Call,
    Condition,
    Criterion,
    Expression,
    Matching,
    Pattern,
    PatternList,
    TcpRule,
    Term,
)
from penstock.rules.patterns import (
    Sources,
    no_name,
    pattern_texts,
    read_pattern_file,
    read_patterns,
)
from penstock.rules.vocabulary import (
    ACL_KEYWORDS,
    FETCHES,
    PREDEFINED_ACLS,
    Checkpoint,
    Type,
)
from penstock.terms import Origin

_DEFAULTS: Final = {
    Type.BOOL: Matching.BOOL,
    Type.INT: Matching.INT,
    Type.ADDRESS: Matching.IP,
    Type.IPV4: Matching.IP,
    Type.IPV6: Matching.IP,
    Type.STRING: Matching.STR,
}
_EXPECTED: Final = {
    Matching.BOOL: Type.INT,
    Matching.INT: Type.INT,
    Matching.IP: Type.ADDRESS,
    Matching.BIN: Type.BINARY,
}
_VERSIONS: Final = frozenset({"req.ssl_ver", "req_ssl_ver"})
_NEVER: Final = """parsing acl keyword '{}' :
  no pattern to match against were provided, so this ACL will never match.
  If this is what you intended, please add '--' to get rid of this warning.
  If you intended to match only for existence, please use '-m found'.
  If you wanted to force an int to match as a bool, please use '-m bool'."""
_SPACE: Final = """parsing acl '{}' :
  matching '{}' for pattern '{}' is likely a mistake and probably
  not what you want. Maybe you need to remove the extraneous space before '('.
  If you are really sure this is not an error, please insert '--' between the
  match and the pattern to make this warning message disappear."""


@dataclass(slots=True)
class _Matcher:
    """How patterns are read; flags change it on the way."""

    matching: Matching | None  # None: -m must say it
    keyword: str
    versions: bool
    sources: Sources
    ignore_case: bool = False
    methods: bool = False
    as_map: bool = False
    patterns: tuple[Pattern, ...] = ()
    lists: tuple[PatternList, ...] = ()
    number: int | None = None
    loaded: bool = False

    def method(self) -> Matching:
        if self.matching is None:
            raise RuleError(
                "matching method must be specified first (using '-m') when using a sample fetch of"
                f" this type ('{self.keyword}')"
            )
        return self.matching

    def flag(self, name: str, value: str, output: Type) -> int:
        """How many words the flag takes. Raises RuleError."""
        match name:
            case "-i":
                self.ignore_case = True
            case "-n":
                self.sources = replace(self.sources, resolve=no_name)
            case "-M":
                self.as_map = True
            case "-u":
                if not value.lstrip("-").isdigit():
                    raise RuleError("the argument of -u must be an integer")
                self.number = int(value)
                return 2
            case "-m":
                if self.loaded:
                    raise RuleError(
                        "'-m' must only be specified before patterns and files in parsing ACL"
                        " expression"
                    )
                self.matching, self.versions = _named(value, output, self.keyword), False
                self.methods = False
                return 2
            case "-f":
                texts, patterns = read_pattern_file(
                    value,
                    self.method(),
                    versions=self.versions,
                    as_map=self.as_map,
                    sources=self.sources,
                )
                self.patterns += patterns
                self.lists += (PatternList(value, texts),)
                self.loaded = True
                return 2
            case _:
                raise RuleError(
                    f"'{name}' is not a valid ACL option. Please use '--' before any pattern"
                    " beginning with a '-'"
                )
        return 1


def read_criterion(
    words: list[str], sources: Sources, origin: Origin, *, name: str = ""
) -> Criterion:
    """What stands after an ACL's *name*, or between braces. Raises RuleError."""
    words = words[: words.index("")] if "" in words else words
    word, second = (*words, "", "")[:2]
    read, matcher = _begin(word, sources)
    if matcher.matching is not None and read.output is not Type.BOOL and not second:
        sources.warn(_NEVER.format(word))
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "--":
            at += 1
            break
        value = words[at + 1] if at + 1 < len(words) else ""
        at += matcher.flag(words[at], value, read.output)
    matching = matcher.method()
    patterns = matcher.patterns + read_patterns(
        matching, words[at:], versions=matcher.versions, sources=matcher.sources
    )
    own = PatternList("", pattern_texts(matching, words[at:]), matcher.number)
    if "(" not in word and second.startswith("("):
        sources.warn(_SPACE.format(name, word, second))
    return Criterion(
        read.expression,
        matching,
        patterns,
        ignore_case=matcher.ignore_case,
        methods=matcher.methods,
        keyword=matcher.keyword,
        lists=(*matcher.lists, own),
        origin=origin,
    )


def _begin(word: str, sources: Sources) -> tuple[Read, _Matcher]:
    """The sample of an ACL, and how it is compared unless flags say otherwise. Raises RuleError."""
    keyword = word[: name_end(word)]
    alias = ACL_KEYWORDS.get(keyword)
    if alias is None:
        try:
            read = read_expression([word], 0, sources)
        except RuleError as error:
            raise RuleError(f"{error.message} in ACL expression '{word}'") from None
        return read, _Matcher(_DEFAULTS.get(read.output), keyword, False, sources)
    read = _keyword(word, keyword, alias[0], sources)
    if read.expression.converters:
        name = read.expression.fetch.name
        return read, _Matcher(_DEFAULTS.get(read.output), name, False, sources)
    return read, _Matcher(
        alias[1], keyword, keyword in _VERSIONS, sources, methods=keyword == "method"
    )


def _keyword(word: str, keyword: str, fetch: str, sources: Sources) -> Read:
    """What begins with a *keyword* of ACLs' own. Raises RuleError."""
    signature = FETCHES[fetch]
    try:
        arguments, end = read_arguments(word, len(keyword), signature)
    except RuleError as error:
        raise RuleError(f"ACL keyword '{keyword}' : {error.message}") from None
    try:
        check_fetch(fetch, arguments, given="(" in word)
    except RuleError as error:
        raise RuleError(f"in argument to '{keyword}', {error.message}") from None
    try:
        converters, output = read_converters(word, end, signature.output, keyword, sources)
    except RuleError as error:
        raise RuleError(f"ACL keyword '{keyword}' : {error.message}") from None
    return Read(Expression(Call(fetch, arguments), converters), signature, output, 1)


def _named(word: str, output: Type, keyword: str) -> Matching:
    """The method ``-m`` names. Raises RuleError."""
    try:
        matching = Matching(word)
    except ValueError:
        raise RuleError(f"unknown matching method '{word}' when parsing ACL expression") from None
    if matching is not Matching.FOUND and (
        _EXPECTED.get(matching, Type.STRING) not in CASTS[output]
    ):
        raise RuleError(f"matching method '{word}' cannot be used with fetch keyword '{keyword}'")
    return matching


def read_condition(
    words: list[str],
    acls: MutableMapping[str, tuple[Criterion, ...]],
    sources: Sources,
    origin: Origin,
    *,
    unless: bool = False,
) -> Condition:
    """The words after if or unless; a predefined ACL that is used is put among *acls*.

    Raises RuleError.
    """
    alternatives: list[list[Term]] = []
    fresh, negated = True, False
    at = 0
    while at < len(words) and words[at]:
        bare = words[at].lstrip("!")
        negated ^= bool((len(words[at]) - len(bare)) % 2)
        at += 1
        if not bare:
            continue
        if bare.lower() == "or" or bare == "||":
            fresh, negated = True, False
            continue
        if bare == "{":
            end = at
            while end < len(words) and words[end] not in ("", "}"):
                end += 1
            if end == len(words) or not words[end]:
                raise RuleError("missing closing '}' in condition")
            term = Term((read_criterion(words[at:end], sources, origin),), negated)
            at = end + 1
        else:
            term = Term(named_acl(bare, acls, sources, origin), negated, bare)
        if fresh:
            alternatives.append([])
        alternatives[-1].append(term)
        fresh, negated = False, False
    return Condition(tuple(map(tuple, alternatives)), unless)


def named_acl(
    name: str,
    acls: MutableMapping[str, tuple[Criterion, ...]],
    sources: Sources,
    origin: Origin,
) -> tuple[Criterion, ...]:
    """The lines of *name*, of a predefined one if there is none. Raises RuleError."""
    if name not in acls:
        words = PREDEFINED_ACLS.get(name)
        if words is None:
            raise RuleError(f"no such ACL : '{name}'")
        silent = replace(sources, warn=lambda _: None)
        acls[name] = (read_criterion(list(words), silent, origin),)
    return acls[name]


def settle(condition: Condition, acls: Mapping[str, tuple[Criterion, ...]]) -> Condition:
    """*condition* with all lines of the ACLs it names, also of those that came after it."""
    return replace(
        condition,
        alternatives=tuple(
            tuple(
                replace(term, criteria=acls[term.name]) if term.name in acls else term
                for term in terms
            )
            for terms in condition.alternatives
        ),
    )


def settle_rule(rule: TcpRule, acls: Mapping[str, tuple[Criterion, ...]]) -> TcpRule:
    """*rule* with its condition settled."""
    if rule.condition is None:
        return rule
    return replace(rule, condition=settle(rule.condition, acls))


def inherited(rule: TcpRule, acls: Mapping[str, tuple[Criterion, ...]]) -> TcpRule:
    """*rule* of a defaults section as others take it over: names are that section's alone."""
    if rule.condition is None:
        return rule
    return replace(rule, condition=inherited_condition(rule.condition, acls))


def inherited_condition(
    condition: Condition, acls: Mapping[str, tuple[Criterion, ...]]
) -> Condition:
    """*condition* of a defaults section, whose names mean nothing elsewhere."""
    settled = settle(condition, acls)
    alternatives = tuple(
        tuple(replace(term, name="") for term in terms) for terms in settled.alternatives
    )
    return replace(settled, alternatives=alternatives)


def _usable(criterion: Criterion, where: Iterable[Checkpoint]) -> bool:
    signature = FETCHES[criterion.expression.fetch.name]
    return any(signature.at(one) for one in where)


def conflict(condition: Condition, where: tuple[Checkpoint, ...], rule: str) -> str:
    """HAProxy's warning when *condition* asks for what there is not *where*; "" when not.

    *rule* is the rule's name, "" when the message has none. *where* are the places it is looked
    at, one for each side of the section; the first gives its name.
    """
    terms = [term for alternative in condition.alternatives for term in alternative]
    inside = f" in '{rule}'" if rule else ""
    place = f"incompatible with '{where[0].words}'"
    never = [term for term in terms if not any(_usable(one, where) for one in term.criteria)]
    if never:
        term = never[0]
        if term.name:
            return (
                f"acl '{term.name}' will never match{inside} because it only involves keywords that"
                f" are {place}"
            )
        return (
            f"anonymous acl will never match{inside} because it uses keyword"
            f" '{term.criteria[0].keyword}' which is {place}"
        )
    for term in terms:
        for one in term.criteria:
            if not _usable(one, where):
                who = f"acl '{term.name}'" if term.name else "anonymous acl"
                return f"{who} involves keyword '{one.keyword}' which is {place}"
    return ""
