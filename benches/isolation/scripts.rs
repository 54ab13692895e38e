//! The scripts of the noisy neighbours: each is short, and takes as much time or memory as it can.

/// Multiplies until a single product takes seconds.
pub const BIG_INTEGERS: &str = "
def reply(conv, text):
    x = 3
    for i in range(100):
        x = x * x
    return \"done\"
";

/// Each search walks through 300,000 numbers, in a single operation of the interpreter. The list
/// depends on the text: one that does not is made when the script is read, and a larger one is over
/// the bound of memory.
pub const LONG_SEARCHES: &str = "
def reply(conv, text):
    n = 0
    l = list(range(300000 + len(text)))
    for i in range(100000):
        if -1 in l:
            n += 1
    return str(n)
";

/// Two graphs of sixty lists each, which have 2^60 paths.
pub const DEEP_COMPARISON: &str = "
def reply(conv, text):
    a = [1]
    b = [1]
    for i in range(60):
        a = [a, a]
        b = [b, b]
    return str(a == b)
";

/// Doubles a list sixty times.
pub const MEMORY_BOMB: &str = "
def reply(conv, text):
    l = [1]
    for i in range(60):
        l = l + l
    return str(len(l))
";

/// Doubles a text sixty times.
pub const TEXT_BOMB: &str = "
def reply(conv, text):
    s = \"x\"
    for i in range(60):
        s = s + s
    return str(len(s))
";

/// Loops without end.
pub const LOOP: &str = "
def reply(conv, text):
    n = 0
    # Not a constant, which is refused when the script is saved.
    for i in range(len(text) * 1000000000):
        n = n + i % 7
    return str(n)
";

/// Sorts a long list again and again.
pub const SORTING: &str = "
def reply(conv, text):
    l = [(i * 7919) % 1000003 for i in range(300000)]
    for i in range(10000):
        l = sorted(l, reverse = (i % 2 == 0))
    return str(len(l))
";

/// Fails with a text of 50 MB. It depends on the message, or the interpreter would make it when the
/// script is read.
pub const LONG_FAILURE: &str = "
def reply(conv, text):
    if text != \"\": fail((text + \"x\") * 10000000)
";

/// Answers with 2 MB.
pub const LONG_REPLY: &str = "
def reply(conv, text):
    return \"spam \" * 400000
";

/// Has a slow top level, so that saving it takes as long as possible.
pub const SLOW_TO_READ: &str = "
def product():
    x = 3
    for i in range(100):
        x = x * x
    return x
PRODUCT = product()
def reply(conv, text):
    return \"done\"
";
