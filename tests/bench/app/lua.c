// Lua 5.4 with a script of the kind that benchmarks use: calls, strings, tables, closures. Prints a sum.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

static const char script[] =
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\n"
    "local sum = fib(22)\n"
    "local words = {}\n"
    "for i = 1, 5000 do words[i] = ('w%05d'):format(i * 7919 % 5000) end\n"
    "table.sort(words)\n"
    "for i, word in ipairs(words) do sum = sum + #word:rep(3) + (word:byte(6) - 48) * (i % 3) end\n"
    "local text = table.concat(words, ',')\n"
    "for number in text:gmatch('%d+') do sum = sum + tonumber(number) end\n"
    "print(sum)\n";

int main(void) {
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    if (luaL_dostring(lua, script)) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        return 1;
    }
    lua_close(lua);
    return 0;
}
