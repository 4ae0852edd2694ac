"""tests/tools/tidy_test.py: tools/tidy finds what it is for, in small wrong trees, and nothing in a right one."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# The smallest right tree: two rooms, one door each.
RIGHT = {
    "core/CMakeLists.txt": "target_sources(core PUBLIC FILE_SET doors TYPE HEADERS BASE_DIRS .. FILES\n"
                           "    word.h # a door\n)\n",
    "core/word.h": "/* core/word.h: a word. */\n#ifndef CORE_WORD_H\n#define CORE_WORD_H\n\n"
                   "#include <stdint.h>\n\nuint32_t word(void);\n\n#endif\n",
    "core/inner.h": "/* core/inner.h: no door. */\n#ifndef CORE_INNER_H\n#define CORE_INNER_H\n#endif\n",
    "core/word.c": '/* core/word.c: a word, see "//" and https://. */\n#include "core/word.h"\n\n'
                   '#include "core/inner.h"\n\n#include <stdatomic.h>\n\n'
                   'static const char *url = "nats://a\\"//b";\n\n'
                   "uint32_t word(void)\n{\n    return (uint32_t)url[0] + '\"'; /* // */\n}\n",
    "store/CMakeLists.txt": "add_library(store STATIC log.c)\n",
    "store/log.c": '/*\n * store/log.c: a log.\n */\n#include "core/word.h"\n',
    "tests/core/word_test.c": '/* tests/core/word_test.c: tests may look behind the doors. */\n'
                              '#include "core/inner.h"\n\n#include <criterion/criterion.h>\n',
}


class Tidy(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="tidy-")
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copy(os.path.join(ROOT, ".clang-format"), self.root)
        for path, text in RIGHT.items():
            self.write(path, text)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def run_tidy(self, *arguments):
        return subprocess.run([sys.executable, os.path.join(ROOT, "tools", "tidy"), "--root", self.root,
                               *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def expect(self, *findings):
        """Exactly these findings in this order, each given as the beginning of its line."""
        done = self.run_tidy()
        found = [line for line in done.stdout.splitlines() if not line.startswith("tidy: ")]
        self.assertEqual(len(found), len(findings), done.stdout)
        for line, expected in zip(found, findings):
            self.assertTrue(line.startswith(expected), "%r is not %r" % (line, expected))
        self.assertEqual(done.returncode, 1 if findings else 0, done.stdout)

    def test_accepts_a_right_tree(self):
        self.expect()

    def test_finds_an_include_against_the_direction(self):
        self.write("store/log.h", "/* store/log.h: a log. */\n")
        self.write("core/wrong.c", '/* core/wrong.c: wrong. */\n#include "store/log.h"\n')
        self.expect("core/wrong.c:2: direction:")

    def test_finds_a_room_that_includes_a_test(self):
        self.write("tests/help.h", "/* tests/help.h: help. */\n")
        self.write("core/wrong.c", '/* core/wrong.c: wrong. */\n#include "tests/help.h"\n')
        self.expect("core/wrong.c:2: direction:")

    def test_finds_a_path_that_does_not_start_at_the_root(self):
        self.write("core/wrong.c", '/* core/wrong.c: wrong. */\n#include "word.h"\n\n#include "../core/word.h"\n'
                                   '\n#include "core/none.h"\n')
        self.expect("core/wrong.c:2: path:", "core/wrong.c:4: path:", "core/wrong.c:6: path:")

    def test_finds_an_include_that_is_no_door(self):
        self.write("store/wrong.c", '/* store/wrong.c: wrong. */\n#include "core/inner.h"\n')
        self.expect("store/wrong.c:2: door:")

    def test_reads_doors_from_a_variable(self):
        self.write("core/CMakeLists.txt", "set(core_doors\n    word.h)\n"
                                          "target_sources(core PUBLIC FILE_SET doors TYPE HEADERS BASE_DIRS ..\n"
                                          "    FILES ${core_doors})\n")
        self.expect()
        self.write("store/wrong.c", '/* store/wrong.c: wrong. */\n#include "core/inner.h"\n')
        self.expect("store/wrong.c:2: door:")

    def test_finds_a_door_without_a_header(self):
        self.write("store/CMakeLists.txt", "target_sources(store PUBLIC FILE_SET doors TYPE HEADERS FILES x.h)\n")
        self.expect("store/CMakeLists.txt:1: door:")

    def test_finds_packages_outside_their_rooms(self):
        self.write("store/wrong.c", "/* store/wrong.c: wrong. */\n#include <cjson/cJSON.h>\n#include <ck_ring.h>\n"
                                    "#include <liburing.h>\n#include <mimalloc.h>\n#include <stdatomic.h>\n\n"
                                    "int get(int *at)\n{\n    return __atomic_load_n(at, __ATOMIC_RELAXED);\n}\n")
        self.write("core/wrong.c", "/* core/wrong.c: wrong. */\n#include <criterion/criterion.h>\n")
        self.expect("core/wrong.c:2: package: Criterion", "store/wrong.c:2: package: cJSON",
                    "store/wrong.c:3: package: ck", "store/wrong.c:4: package: liburing",
                    "store/wrong.c:5: package: mimalloc", "store/wrong.c:6: package: atomics",
                    "store/wrong.c:10: package: atomics")

    def test_does_not_mind_packages_named_in_comments(self):
        self.write("store/right.c", "/*\n * store/right.c: not\n#include <liburing.h>\n */\n")
        self.expect()

    def test_finds_a_line_comment(self):
        self.write("store/wrong.c", "/* store/wrong.c: wrong. */\n\nint x; // here\n")
        self.expect("store/wrong.c:3: comment:")

    def test_finds_a_file_that_does_not_open_with_its_path(self):
        self.write("store/bare.c", "int bare;\n")
        self.write("store/copied.c", "/* store/log.c: a log. */\nint copied;\n")
        self.expect("store/bare.c:1: opening:", "store/copied.c:1: opening:")

    @unittest.skipUnless(shutil.which("cc"), "no C compiler")
    def test_finds_a_header_that_does_not_compile_alone(self):
        self.write("store/wrong.h", "/* store/wrong.h: wrong. */\n#ifndef STORE_WRONG_H\n#define STORE_WRONG_H\n\n"
                                    "void wrong(uint32_t x);\n\n#endif\n")
        self.write("store/twice.h", "/* store/twice.h: no guard. */\nstruct twice {\n    int x;\n};\n")
        self.write("store/above.h", '/* store/above.h: right but for what it includes. */\n#include "store/wrong.h"\n')
        self.expect("store/twice.h:2: alone:", "store/wrong.h:5: alone:")

    @unittest.skipUnless(shutil.which("clang-format"), "no clang-format")
    def test_finds_and_mends_a_wrong_format(self):
        self.write("store/wrong.c", "/* store/wrong.c: wrong. */\nint   x;\n")
        self.expect("store/wrong.c:2: format:")
        self.assertEqual(self.run_tidy("--fix").returncode, 0)
        self.expect()


if __name__ == "__main__":
    unittest.main()
