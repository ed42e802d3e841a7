"""What the generator writes for each kind of method, parameter, callback and docstring."""

import ast
from textwrap import dedent

import pytest
from hypothesis import given, strategies as st

from tests.mirror.small_twins import method_twin, twin

A30, B30 = "a" * 30, "b" * 30


def signature_twin(signature: str) -> str:
    """Return what stands before the body of a verb's twin."""
    text = method_twin(f"async def f{signature}\n    ...")
    return text.removeprefix("def f").partition("\n    return ")[0]


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ("return await self.g()", "call"),
        ("yield 1", "iterate"),
        ("async with self.g() as x:\n        yield x", "iterate"),
        ("for x in [lambda: (yield)]:\n        await x", "call"),
        ("def g():\n        yield\n    await self.h(g)", "call"),
        ("async def g():\n        yield from x\n    await self.h(g)", "call"),
    ],
)
def test_a_body_that_yields_is_iterated(body: str, call: str) -> None:
    """Only a function's own `yield` counts, wherever it stands."""
    text = method_twin(f"async def f(self) -> int:\n    {body}")
    made = "self._source.f" if call == "call" else "self._source.f()"
    assert text == f"def f(self) -> int:\n    return self._portal.{call}({made})\n"


def test_nothing_is_returned_as_nothing() -> None:
    """A verb that returns `None` is a statement in its twin."""
    text = method_twin("async def f(self) -> None: ...")
    assert text == "def f(self) -> None:\n    self._portal.call(self._source.f)\n"


def test_a_context_manager_gives_out_an_iterator() -> None:
    """Its annotation tells of the manager, as the function is no generator any more."""
    method = """
    @asynccontextmanager
    async def f(self, a: int) -> AsyncIterator[AsyncIterator[int]]:
        yield self.g()
    """
    text = method_twin(method, types={"AsyncIterator": "Iterator[{}]"})
    assert text == (
        "def f(self, a: int) -> AbstractContextManager[Iterator[int]]:\n"
        "    return self._portal.open(self._source.f(a))\n"
    )


def test_a_view_is_reflected() -> None:
    """A plain method that returns `Self` gives another mirror of the same portal."""
    text = method_twin("def view(self, *, a: int) -> Self: ...")
    assert text == (
        "def view(self, *, a: int) -> Self:\n"
        "    return wrapped(type(self), self._portal, self._source.view(a=a))\n"
    )


def test_methods_of_the_table_do_as_it_says() -> None:
    """They get another name and body, and keep signature and docstring."""
    method = '''
    async def __aexit__(
        self,
        kind: type[BaseException] | None,  # noqa: A
    ) -> None:
        """Leave."""
        await self.aclose()
    '''
    text = method_twin(method, methods={"__aexit__": ("__exit__", "self.close()\nreturn")})
    assert text == dedent(
        '''\
        def __exit__(
            self,
            kind: type[BaseException] | None,  # noqa: A
        ) -> None:
            """Leave."""
            self.close()
            return
        ''',
    )


def test_private_methods_have_no_twin() -> None:
    """Not even when they are of a kind that no rule covers."""
    methods = """
    @property
    def _secret(self): ...
    def __repr__(self): ...
    def __init__(self, *args): ...
    async def _get(self): ...
    """
    assert method_twin(methods) == ""


@pytest.mark.parametrize(
    "signature",
    [
        "(self) -> int:",
        "(self, a, b=1, *, c=None) -> int:",
        "(self, a: int, /, b: str = '', *, c: int, d: int = 1) -> int:",
        "(self, /, a: int) -> int:",
        "(self, *, a: int) -> int:",
        "(\n    self,\n    a: int,\n) -> int:",
        "(\n    self,\n    a: int,\n    /,\n    *,\n    b: int = 1,\n) -> int:",
        "(\n    self,  # me\n    a: int,  # noqa: A\n    *,\n    b: str = 'é, #',  # B\n) -> int:",
    ],
)
def test_a_signature_keeps_its_layout(signature: str) -> None:
    """Flat stays flat, rows stay rows, and comments stay behind their parameters."""
    assert signature_twin(signature) == signature


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("(\n    self,\n) -> int:", "(self) -> int:"),
        ("(\n    self, a: int, *, b: int\n) -> int:", "(self, a: int, *, b: int) -> int:"),
        ("(self, a: int) -> int:  # noqa: A", "(self, a: int) -> int:"),
        (
            "(\n    self, a: int, b: int  # noqa: B\n) -> int:",
            "(\n    self,\n    a: int,\n    b: int,  # noqa: B\n) -> int:",
        ),
        (
            f"(self, {A30}: int, *, {B30}: int = {A30}) -> int:",
            f"(\n    self,\n    {A30}: int,\n    *,\n    {B30}: int = {A30},\n) -> int:",
        ),
    ],
    ids=["one row", "hugging", "comment of the whole", "comment of one", "too long"],
)
def test_other_layouts_become_flat_or_rows(signature: str, expected: str) -> None:
    """A line holds a signature that fits and has no comments; else each parameter gets one."""
    assert signature_twin(signature) == expected


@pytest.mark.parametrize("surplus", [0, 1])
def test_a_signature_may_fill_the_line(surplus: int) -> None:
    """Exactly 100 columns are enough, with a class around it."""
    name = "a" * (100 - len("    def f(self, : int) -> int:") + surplus)
    assert ("\n" in signature_twin(f"(self, {name}: int) -> int:")) is (surplus == 1)


@pytest.mark.parametrize(
    ("parameters", "lines"),
    [
        (A30, [f"return self._portal.call(partial(self._source.f, {A30}))"]),
        (
            f"{A30}, {B30}",
            ["return self._portal.call(", f"    partial(self._source.f, {A30}, {B30}),", ")"],
        ),
        (
            f"{A30}, *, {B30}",
            [
                "return self._portal.call(",
                "    partial(",
                "        self._source.f,",
                f"        {A30},",
                f"        {B30}={B30},",
                "    ),",
                ")",
            ],
        ),
    ],
    ids=["one line", "a line of its own", "rows"],
)
def test_calls_are_broken_as_the_formatter_would(parameters: str, lines: list[str]) -> None:
    """From outside to inside, and only when it must be."""
    text = method_twin(f"async def f(self, {parameters}) -> int: ...")
    assert dedent(text.partition(":\n")[2]).splitlines() == lines


@pytest.mark.parametrize(("length", "lines"), [(41, 1), (42, 3), (62, 3), (63, 6)])
def test_calls_may_fill_the_line(length: int, lines: int) -> None:
    """Exactly 100 columns are enough, both outside and inside."""
    text = method_twin(f"async def f(self, {'a' * length}: int) -> int: ...")
    assert text.partition("    return ")[2].count("\n") == lines


def test_callbacks_run_at_the_caller() -> None:
    """What is callable, under whatever name for its type, is called where the caller waits."""
    head = "Inner: TypeAlias = Callable[[int], None]\nOuter: TypeAlias = Inner | None\n"
    method = """
    async def f(
        self,
        on_a: Callable[[int], None],
        *,
        on_b: Outer = None,
        on_c: typing.Callable[..., int],
        on_d: "Callable[..., int]",
        once: int,
    ) -> int: ...
    """
    assert method_twin(method, head).partition("    return ")[2] == dedent(
        """\
        self._portal.call(
                partial(
                    self._source.f,
                    call_in_caller("on_a", on_a),
                    on_b=call_in_caller("on_b", on_b),
                    on_c=call_in_caller("on_c", on_c),
                    on_d=call_in_caller("on_d", on_d),
                    once=once,
                ),
            )
        """,
    )


@pytest.mark.parametrize(
    "annotation",
    [
        "AsyncIterable[int] | Iterable[int]",
        "Iterable[int] | AsyncIterable[int]",
        "AsyncIterable[int]",
    ],
)
def test_inputs_are_drawn_at_the_caller(annotation: str) -> None:
    """What may be awaited is drawn where the caller waits, by position and by name."""
    method = f"""
    async def f(self, rows: {annotation}, *, more: {annotation}, once: list[int]) -> int: ...
    """
    types = {"AsyncIterable": "Iterable[{}]"}
    text = method_twin(method, types=types)
    assert text == (
        "def f(self, rows: Iterable[int], *, more: Iterable[int], once: list[int]) -> int:\n"
        "    return self._portal.call(\n"
        "        partial(\n"
        "            self._source.f,\n"
        "            iterate_in_caller(rows),\n"
        "            more=iterate_in_caller(more),\n"
        "            once=once,\n"
        "        ),\n"
        "    )\n"
    )


def test_inputs_of_a_block_are_drawn_at_the_caller() -> None:
    """A context manager's input is drawn like a call's, and its module imports what it needs."""
    source = """
    class AsyncThings(AsyncResource):
        @asynccontextmanager
        async def f(self, rows: AsyncIterable[int]) -> AsyncIterator[AsyncIterator[int]]:
            yield self.g(rows)
    """
    types = {"AsyncIterator": "Iterator[{}]", "AsyncIterable": "Iterable[{}]"}
    text = twin(dedent(source), types=types)
    assert "from lipsync_async._portal.blocking_iterator import iterate_in_caller\n" in text
    assert "def f(self, rows: Iterable[int]) -> AbstractContextManager[Iterator[int]]:\n" in text
    assert "self._portal.open(self._source.f(iterate_in_caller(rows)))\n" in text


def test_other_modules_do_not_draw() -> None:
    """What is an input of no method is not imported."""
    assert "iterate_in_caller" not in twin("class AsyncThings(AsyncResource): ...")


def test_docstrings_speak_of_blocking_code() -> None:
    """Words are replaced in the order of the table, then whole names of classes."""
    method = r'''
    async def f(self) -> None:
        r"""Await \AsyncThings of AsyncThingsy; await them.

            await AsyncResource
        """
    '''
    words = {"Await \\": "Wait for \\", "await them": "await it", "await ": ""}
    assert method_twin(method, words=words) == dedent(
        r'''
        def f(self) -> None:
            r"""Wait for \Things of AsyncThingsy; it.

                SyncWrapper
            """
            self._portal.call(self._source.f)
        ''',
    ).lstrip("\n")


@pytest.mark.parametrize("first", ["...", "1", "pass", "f'{self}'", "self.g('''No docs.''')"])
def test_what_is_no_docstring_is_not_taken_over(first: str) -> None:
    """A body's first statement belongs to the body, unless it is a plain text."""
    text = method_twin(f"async def f(self) -> None:\n    {first}")
    assert text == "def f(self) -> None:\n    self._portal.call(self._source.f)\n"


TYPES_DRAWN = st.sampled_from(["", ": int", ": str | None", ": dict[str, list[int]]", ": 'Quoted'"])
DEFAULTS_DRAWN = st.sampled_from(["None", "'é, # no'", "(1, 2)", "-1.5", "[*'a']"])
COMMENTS_DRAWN = st.sampled_from(["", "  # noqa: A", "  # é, f(x)"])


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """Draw parameters of all kinds, flat or in rows; rows may have comments."""
    names = draw(st.lists(st.from_regex(r"[a-z]{3,24}_", fullmatch=True), unique=True, max_size=6))
    positional, first_default, slash = (draw(st.integers(0, len(names))) for _ in range(3))
    items = [name + draw(TYPES_DRAWN) for name in names]
    for number in range(len(items)):
        is_optional = draw(st.booleans()) if number >= positional else number >= first_default
        items[number] += f" = {draw(DEFAULTS_DRAWN)}" if is_optional else ""
    stars = ["*"] if items[positional:] else []
    slashes = ["/"] if slash <= positional and draw(st.booleans()) else []
    items = [
        "self",
        *items[:positional][:slash],
        *slashes,
        *items[:positional][slash:],
        *stars,
        *items[positional:],
    ]
    if draw(st.booleans()):
        return f"({', '.join(items)}) -> int:"
    rows = [f"    {item},{draw(COMMENTS_DRAWN) if len(item) > 1 else ''}\n" for item in items]
    return f"(\n{''.join(rows)}) -> int:"


@given(signatures())
def test_every_signature_survives(signature: str) -> None:
    """Names, kinds, order, types, defaults and comments are the source's; all is passed on."""
    source = ast.parse(f"async def f{signature}\n    ...").body[0]
    text = method_twin(f"async def f{signature}\n    ...")
    twin = ast.parse(text).body[0]
    assert isinstance(source, ast.AsyncFunctionDef)
    assert isinstance(twin, ast.FunctionDef)
    assert ast.dump(twin.args) == ast.dump(source.args)
    assert text.count("#") == signature.count("#")
    positional = [*source.args.posonlyargs, *source.args.args][1:]
    passed = ["self._source.f", *(argument.arg for argument in positional)]
    passed += [f"{argument.arg}={argument.arg}" for argument in source.args.kwonlyargs]
    made = f"partial({', '.join(passed)})" if len(passed) > 1 else passed[0]
    assert ast.unparse(twin.body[0]) == f"return self._portal.call({made})"


def test_overloads_have_twins() -> None:
    """Each overload is translated, and none has a body."""
    method = """
    @overload
    async def f(self, row: int) -> AsyncIterator[int]: ...
    """
    types = {"AsyncIterator": "Iterator[{}]"}
    assert method_twin(method, types=types) == (
        "@overload\ndef f(self, row: int) -> Iterator[int]: ...\n"
    )
