-- The book of one UID: which tokens of its budgets are at home, and who holds the others.
--
-- A pure function from (book, message, time) to (book, answer, notices). KEYS[1] is the book, which
-- is one value. ARGV[1] is a message of limits/store.py, ARGV[2] the start of the channels' names.
--
-- Rules:
--
-- * A budget has N tokens. Each is at home, with the time at which it is free; or held by a process,
--   on a lease; or unknown, after the book was lost, until whoever held it must have let go.
-- * A message says how many tokens its process holds. What the book has beyond that came home, free
--   as the message says, else one window later. What the process claims beyond that it may keep
--   only if it is among the unknown ones.
-- * A new process may begin a book where there is none. Others that live may hold tokens all the
--   same, if the store was flushed: they claim theirs within HEARD.
-- * A message that is no later than one that was read is not read.
-- * When a lease has ended, the tokens of its process are free one window later. If all leases have,
--   and one comes back and claims tokens, all were cut off: that is a loss.
-- * Urgent calls come first, then those that charge a scarcer budget too, then routine ones in
--   equal shares, then background ones. What nobody lacks is lent ahead of need, in part. Who had no
--   need before is lent an equal part at first, and the rest when it asks again, which it is told to.
-- * A token of a scarcer budget takes along those of a wider one that go with it. They are put aside
--   for whom it is lent to.
-- * Time is the server's, in microseconds, and never runs backwards. It travels as delays only.

local TURN = 4  -- windows, for which the remainder of an even division stays where it is
local HEARD = 1200000  -- microseconds in which a process that lives has spoken, even after a failure
local KEPT_FOR = 86400  -- seconds, without a message, that the book is kept
local WORTH = 5000  -- microseconds by which a token must be sooner to be swapped: it ages on its way

local me, serial, lease, grace, known, bye, kept, wants = unpack(cmsgpack.unpack(ARGV[1]))

local info = redis.call('INFO', 'server')
local run = info:match('run_id:(%w+)')
local uptime = tonumber(info:match('uptime_in_seconds:(-?%d+)')) * 1000000
local clock = redis.call('TIME')

local raw = redis.call('GET', KEYS[1])
local book = raw and cmsgpack.unpack(raw) or {run = run, time = 0, procs = {}, budgets = {}}
-- After a step back of the server's clock the book's goes on from where it was.
local time = clock[1] * 1000000 + clock[2]
book.shift = math.max(book.shift or 0, book.time - time)
local now = time + book.shift
book.time = now

local function repeated(at, n)
  local times = {}
  for i = 1, n do times[i] = at end
  return times
end

local function come_home(budget, times)
  for _, at in ipairs(times) do table.insert(budget.home, at) end
  table.sort(budget.home)
end

local function unknown_until(budget, at)
  budget.unknown, budget.held, budget.home = budget.n, {}, {}
  budget.needs, budget.asked = {}, {}
  budget.known_at = at
end

-- After a loss nothing is at home until every lease has ended and its calls have left the window.
local function lose(budget)
  unknown_until(budget, now + lease + grace + budget.window)
end

local function forget(name, free_in)
  for _, budget in pairs(book.budgets) do
    come_home(budget, repeated(free_in + budget.window, budget.held[name] or 0))
    budget.held[name], budget.needs[name], budget.asked[name] = nil, nil, nil
  end
  book.procs[name] = nil
end

-- 1. What was lost, and who is gone.

if book.run ~= run then  -- restarted, failed over or moved: the last moments may be missing
  book.run, book.procs = run, {}
  for _, budget in pairs(book.budgets) do lose(budget) end
end

local process = book.procs[me]
if process and serial <= process.serial then return cmsgpack.pack({false, 0, {}}) end

local gone = {}
for name, other in pairs(book.procs) do
  if other.ends < now then table.insert(gone, name) end
end
for _, name in ipairs(gone) do forget(name, book.procs[name].ends + grace) end

if not raw then  -- the first message ever, or after a loss
  book.distrusted_until, book.heard_at = known and now + lease + grace or 0, now + HEARD
end
book.procs[me] = {serial = serial, ends = now + lease}
local names = {}
for name in pairs(book.procs) do table.insert(names, name) end
table.sort(names)

-- 2. What the caller holds.

local function open(title, n, window, claim)
  local budget = {n = n, window = window, hold = 0, home = repeated(now, n), held = {},
    unknown = 0, known_at = 0, needs = {}, asked = {}, aside = 0, scarcer = {}}
  local young = uptime < lease + grace + window
  if claim > 0 or young or now < book.distrusted_until then
    lose(budget)
  elseif now < book.heard_at then
    unknown_until(budget, book.heard_at)
  end
  book.budgets[title] = budget
  return budget
end

local function settle(budget, claim, given)
  local held = budget.held[me] or 0
  if now >= budget.known_at then
    come_home(budget, repeated(budget.known_at, budget.unknown))
    budget.unknown = 0
  end
  if claim > held then
    if #budget.home == budget.n and budget.home[budget.n] <= now then lose(budget) end
    local mine = math.min(claim - held, budget.unknown)
    budget.unknown = budget.unknown - mine
    claim = held + mine
  elseif claim < held then
    local times = {}
    table.sort(given)
    for i = 1, held - claim do
      times[i] = now + (given[#given + 1 - i] or budget.window + grace)
    end
    come_home(budget, times)
  end
  budget.held[me] = claim > 0 and claim or nil
end

-- The tokens add up to N, whatever became of N: missing ones are free, odd ones go, latest first.
local function add_up(budget)
  local odd = #budget.home + budget.unknown - budget.n
  for _, held in pairs(budget.held) do odd = odd + held end
  if odd < 0 then come_home(budget, repeated(now, -odd)) end
  for _ = 1, math.min(odd, #budget.home) do table.remove(budget.home) end
end

-- 3. How many tokens each process should hold.

-- Divide tokens in equal shares, nobody getting more than it demands; return what is left. What an
-- even division leaves over goes to others in each turn, so that nobody is left out for long.
local function divide(demands, left, shares, from)
  local takers = {}
  for i = 1, #names do
    local name = names[(from + i) % #names + 1]
    if (demands[name] or 0) > 0 then table.insert(takers, name) end
  end
  local hungry = #takers
  while hungry > 0 and left > 0 do
    local level = math.max(math.floor(left / hungry), 1)
    hungry = 0
    for _, name in ipairs(takers) do
      local share = math.min(demands[name], level, left)
      shares[name] = (shares[name] or 0) + share
      demands[name], left = demands[name] - share, left - share
      hungry = hungry + (demands[name] > 0 and 1 or 0)
    end
  end
  return left
end

local function divide_all(budget)
  local shares, demands = {}, {{}, {}, {}, {}}
  local from = math.floor(now / (TURN * budget.window)) * budget.n
  for name, need in pairs(budget.needs) do
    demands[1][name] = need.urgent > 0 and need.urgent + need.under_way or 0
  end
  local left = math.max(divide(demands[1], budget.n, shares, from) - kept, 0)
  for name, need in pairs(budget.needs) do
    demands[2][name] = math.max(need.narrow - (shares[name] or 0), 0)
  end
  left = divide(demands[2], left, shares, from)
  for name, need in pairs(budget.needs) do
    local wanted = math.min(need.used + need.urgent + need.routine, budget.n)
    demands[3][name] = math.max(wanted - (shares[name] or 0), 0)
    demands[4][name] = need.background
  end
  divide(demands[4], divide(demands[3], left, shares, from), shares, from)
  return shares
end

-- 4. Lend the caller what it lacks, the soonest first; but these are for urgent calls, now or later.

-- How many tokens at home can be used before those that a process holds.
local function sooner(budget, need)
  local number, from = 0, math.max(now, budget.hold)
  for _, at in ipairs(budget.home) do
    number = number + (math.max(at, from) + WORTH < need.soonest and 1 or 0)
  end
  return number
end

-- Tokens that others than one lack, urgent calls that wait there, and tokens at home for these.
local function elsewhere(budget, shares, one)
  local lacked, urgent, theirs = 0, 0, 0
  for name, need in pairs(budget.needs) do
    if name ~= one then
      local lack = math.max((shares[name] or 0) - (budget.held[name] or 0), 0)
      lacked, urgent = lacked + lack, urgent + need.urgent
      if need.urgent > 0 then
        theirs = theirs + math.max(lack, math.min(need.urgent, sooner(budget, need)))
      end
    end
  end
  return lacked, urgent, theirs
end

-- Take tokens from home: the next ones after the first ``skip``.
local function fetch(budget, lent, count, skip)
  for _ = 1, math.min(count, #budget.home - skip) do
    table.insert(lent, math.max(table.remove(budget.home, skip + 1) - now, 0))
  end
end

local function lend(budget, shares, carried, first_need)
  local held, need = budget.held[me] or 0, budget.needs[me]
  local lacked, urgent, theirs = elsewhere(budget, shares, me)
  local lack, skip = (shares[me] or 0) - held, theirs + kept
  if need.urgent > 0 then
    lack, skip = math.max(lack, math.min(need.urgent, sooner(budget, need))), 0
  elseif first_need then  -- others may be about to ask, too
    lack = math.min(lack, math.max(math.ceil(budget.n / #names) - held, 0))
  end
  if lacked + urgent == 0 then
    lack = math.max(lack, math.floor(budget.n / (#names + 1)) - (held - need.used))
  end
  local lent = {}
  fetch(budget, lent, carried, skip)
  fetch(budget, lent, lack - #lent, skip + (need.urgent > 0 and 0 or budget.aside))
  budget.held[me] = held + #lent > 0 and held + #lent or nil
  return lent
end

-- 5. Who is to give, and who may fetch what came home. Each is told once between its messages.

local notices = {}

local function notify(name, budget, notice)
  if budget.asked[name] then return end
  budget.asked[name] = true
  notices[name] = notices[name] or {}
  table.insert(notices[name], notice)
end

local function recall(title, budget, shares, urgent, first_need)
  local _, _, theirs = elsewhere(budget, shares)
  local short = kept + budget.aside - #budget.home
  for name, share in pairs(shares) do
    local lack = share - (budget.held[name] or 0)
    if lack > 0 then
      local stay = budget.needs[name].urgent > 0 and 0 or theirs + kept + budget.aside
      short = short + lack
      local told = name == me and not first_need
      if not told and #budget.home > stay then notify(name, budget, {title, 0, false}) end
    end
  end
  for name, need in pairs(budget.needs) do  -- who waits urgently, for a token that is free later
    if name ~= me and need.urgent > 0 and sooner(budget, need) > 0 then
      notify(name, budget, {title, 0, false})
    end
  end
  local mine = 0
  for name, held in pairs(budget.held) do
    local need = budget.needs[name] or {used = 0, urgent = 0}
    local over = held - (shares[name] or 0)
    local give = math.max(math.min(over, short), 0)
    if give > 0 then  -- at least half of what is idle, not one by one
      give = math.max(give, math.min(over, math.ceil((held - need.used) / 2)))
    end
    if need.urgent == 0 then
      give = math.max(give, math.min(held, urgent))
    else  -- but what its own urgent calls can use: it would ask for that again
      give = math.min(give, math.max(held - need.under_way - need.urgent, 0))
    end
    if name == me then
      mine = give
    elseif give > 0 then
      notify(name, budget, {title, give, urgent > 0 and need.urgent == 0})
    end
  end
  return mine
end

local lent_now = {}  -- tokens lent to the caller, by budget

-- Put tokens aside that came along with tokens of scarcer budgets, until those are lent, or nobody
-- needs them; return how many go to the caller, who was just lent some of those.
local function put_aside(budget, scarcer, along)
  local carried, most, narrow = 0, 0, 0
  for name, ratio in pairs(scarcer) do
    budget.scarcer[name] = ratio
    carried = carried + ratio * (lent_now[name] or 0)
  end
  for name, ratio in pairs(budget.scarcer) do
    local other = book.budgets[name]
    most = most + ratio * (other and #other.home or 0)
  end
  for _, need in pairs(budget.needs) do narrow = narrow + need.narrow end
  budget.aside = budget.aside + along
  carried = math.min(carried, budget.aside)
  budget.aside = math.min(budget.aside - carried, most, narrow)
  return carried
end

local function take(want)
  local title, n, window, taught, claim, given, used, under_way, soonest, waiting, narrow,
    scarcer, along, pressing, hold = unpack(want)
  local budget = book.budgets[title] or open(title, n, window, claim)
  if taught then budget.n, budget.window = n, window end
  if now + hold > math.max(budget.hold, now) then
    budget.hold = now + hold
    for name in pairs(budget.held) do
      if name ~= me then notify(name, budget, {title, 0, false}) end
    end
  end
  local before = budget.needs[me] or {used = 0, routine = 0, background = 0}
  local first_need = before.used + before.routine + before.background == 0
  settle(budget, claim, given)
  add_up(budget)
  budget.needs[me] = {used = used, under_way = under_way, soonest = now + soonest,
    urgent = waiting[1], routine = waiting[2], background = waiting[3], narrow = narrow}
  budget.asked[me] = nil
  local carried = put_aside(budget, scarcer, along)
  local shares = divide_all(budget)
  local lent = bye and {} or lend(budget, shares, carried, first_need)
  lent_now[title] = #lent
  for _, delay in ipairs(lent) do
    pressing = pressing - (delay == 0 and 1 or 0)
    budget.needs[me].soonest = math.min(budget.needs[me].soonest, now + delay)
  end
  local give = recall(title, budget, shares, math.max(pressing, 0), first_need)
  if #lent > 0 then give = 0 end  -- else the same token might come and go without end
  local others = false  -- whether anybody else waits for more than it holds
  for name, need in pairs(budget.needs) do
    local wanted = need.used + need.urgent + need.routine + need.background
    others = others or (name ~= me and wanted > (budget.held[name] or 0))
  end
  return {title, budget.n, budget.window, budget.held[me] or 0, lent, give,
    math.max(budget.hold - now, 0), math.max(shares[me] or 0, math.floor(budget.n / #names)),
    others}
end

local answers = {}
for i, want in ipairs(wants) do answers[i] = take(want) end
if bye then forget(me, now + grace) end

redis.call('SET', KEYS[1], cmsgpack.pack(book), 'EX', KEPT_FOR)
for name, notice in pairs(notices) do
  redis.call('PUBLISH', ARGV[2] .. name, cmsgpack.pack(notice))
end
return cmsgpack.pack({true, #names, answers})
