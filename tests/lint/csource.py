"""C source with comments, strings and character constants blanked, lines kept in place."""
import re

_TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def blank(text):
    def spaces(found):
        token = found.group(0)
        quote = token[0] if token[0] in "\"'" else ""
        inner = re.sub(r"[^\n]", " ", token[1:-1] if quote else token)
        return quote + inner + quote
    return _TOKEN.sub(spaces, text)
