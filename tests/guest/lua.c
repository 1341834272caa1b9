/* links -I/usr/include/lua5.4 -llua5.4 -ldl -lm. Lua with its libraries, on a script of its own. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

static const char SCRIPT[] =
	"local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\n"
	"print(_VERSION, fib(20), 7 // 2, 2 ^ 0.5, 1e300 * 1e10, 10 / 3)\n"
	"local t = {} for i = 1, 2000 do t[i] = (i * 7919) % 2003 end table.sort(t) print(t[1], t[1000], #t)\n"
	"print(('the quick brown fox'):gsub('%w+', string.upper), ('%5.2f|%q'):format(math.pi, 'a\\nb'))\n"
	"local co = coroutine.wrap(function(a) for i = 1, 3 do a = coroutine.yield(a * i) end return 'end' end)\n"
	"print(co(2), co(3), co(4), co(5))\n"
	"print(pcall(error, {code = 7}), select('#', table.unpack({1, nil, 3}, 1, 3)))\n"
	"local mt = setmetatable({}, {__index = function(_, k) return k .. '!' end, __gc = function() end}) print(mt.hello)\n"
	"local f = io.open('lua.txt', 'w') f:write('one\\n', 2, '\\n', 3.5, '\\n') f:close()\n"
	"for line in io.lines('lua.txt') do io.write('<', line, '>') end print()\n"
	"print(io.open('none'), os.getenv('HOME'), os.time{year = 2024, month = 2, day = 29, hour = 12}, os.remove('lua.txt'))\n"
	"collectgarbage() local big = {} for i = 1, 100000 do big[i] = {i} end big = nil collectgarbage() print(collectgarbage('count') < 2000)\n"
	"print(os.date('!%Y-%m-%d', 1e9), string.rep('ab', 3, '-'), utf8.char(228, 8364), #utf8.char(8364))\n"
	"print(require('string') == string, package.path ~= nil, load('return 1 +')) local n = 0 for w in ('a,b,c'):gmatch('%a') do n = n + 1 end print(n)\n"
	"local p = io.popen('echo through a shell') print(p:read('l'), p:close()) os.exit(3)\n";

int main(void) {
	lua_State *lua = luaL_newstate();
	luaL_openlibs(lua);
	if (luaL_dostring(lua, SCRIPT))
		printf("error: %s\n", lua_tostring(lua, -1));
	lua_close(lua);
	return 1;
}
