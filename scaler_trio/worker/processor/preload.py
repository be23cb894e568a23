"""Preloading: what the user wants imported, or called, once per worker before any task runs."""

import ast
import importlib


class PreloadFailed(Exception):
    """The setting ``preload`` is wrong, or what it names raised; the text says which."""


def run_preload(setting: str) -> None:
    """Import ``module``, or call ``module:function`` or ``module:function(…literals…)``; "" does nothing.

    Raises:
        PreloadFailed: with the setting and the cause.
    """
    if not setting:
        return
    module_name, _, call = setting.partition(":")
    try:
        module = importlib.import_module(module_name)
        if call:
            name, args, kwargs = _parse(call)
            getattr(module, name)(*args, **kwargs)
    except Exception as error:
        raise PreloadFailed(f"preload {setting!r} failed: {type(error).__name__}: {error}") from error


def _parse(call: str) -> tuple[str, list[object], dict[str, object]]:
    tree = ast.parse(call.strip(), mode="eval").body
    if isinstance(tree, ast.Name):
        return tree.id, [], {}
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        args = [ast.literal_eval(arg) for arg in tree.args]
        return tree.func.id, args, {word.arg: ast.literal_eval(word.value) for word in tree.keywords if word.arg}
    raise ValueError("write module, module:function or module:function('literal', k=1)")
