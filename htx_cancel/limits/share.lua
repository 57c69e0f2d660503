-- The book of one UID: where each token of its budgets is.
--
-- A pure function from (book, message, time) to (book, answer, notices). KEYS[1] is the key of the
-- book, which is one value. ARGV[1] is a Message of limits/store.py. ARGV[2] is the prefix of the
-- channel names.
--
-- Rules:
--
-- * A budget has N tokens. Each token is at home, that is in the book, with the time at which it is
--   free; or held by a process on a lease; or unknown, after the book was lost, until every process
--   that may hold it must have stopped using it.
-- * A message claims the tokens that its process holds. If the book says that it holds more, the
--   difference comes home, free when the message says, else one window and the grace later. If the
--   process claims more than the book says, it may keep the difference only from unknown tokens.
-- * A new process may begin a book if there is none. Other processes may still hold tokens, if the
--   store was flushed. They claim these within CLAIM_TIME, in which the new book lends nothing.
-- * A message is ignored unless its serial is greater than that of the last message of its process.
-- * When a lease has ended, the tokens of its process are free after the grace and one window. If a
--   process claims tokens while all are at home and free, all leases had ended: all processes were
--   cut off from the store. The script treats this as a loss of the book.
-- * Tokens go to urgent calls first, then to calls that also charge a scarcer budget, then in equal
--   shares to routine calls, then to background calls. Part of the tokens that no process lacks is
--   lent ahead of need. A process that had no need before is lent an equal part at first; a notice
--   tells it to ask again for the rest.
-- * With a token of a scarcer budget, a process gives back the tokens of a wider budget that
--   accompany it. They are set aside for the process to which the scarcer token is lent.
-- * Time is the server's, in microseconds, and never runs backwards. Messages contain only delays.

local ROTATION = 4  -- windows after which the remainder of an even division goes to other processes
local CLAIM_TIME = 1200000  -- microseconds: two renewals, the first of which may fail
local BOOK_EXPIRES = 86400  -- seconds after the last message
local MIN_GAIN = 5000  -- microseconds by which a token must be sooner to be worth a swap

local me, serial, lease, grace, known, bye, keep_for_urgent, wants =
  unpack(cmsgpack.unpack(ARGV[1]))

local info = redis.call('INFO', 'server')
local run = info:match('run_id:(%w+)')
local uptime = tonumber(info:match('uptime_in_seconds:(-?%d+)')) * 1000000
local clock = redis.call('TIME')

local raw = redis.call('GET', KEYS[1])
local book = raw and cmsgpack.unpack(raw) or {run = run, time = 0, procs = {}, budgets = {}}
-- If the server's clock was set back, the book's time continues from its last value.
local time = clock[1] * 1000000 + clock[2]
book.shift = math.max(book.shift or 0, book.time - time)
local now = time + book.shift
book.time = now

local function add_home(budget, count, free_at)
  for _ = 1, count do table.insert(budget.home, free_at) end
  table.sort(budget.home)
end

local function set_unknown(budget, known_at)
  budget.unknown, budget.known_at = budget.n, known_at
  budget.home, budget.held, budget.needs, budget.asked = {}, {}, {}, {}
end

-- After a loss no token is at home until all leases have ended, and their calls left the window.
local function lose(budget)
  set_unknown(budget, now + lease + grace + budget.window)
end

local function forget(name, last_use)
  for _, budget in pairs(book.budgets) do
    add_home(budget, budget.held[name] or 0, last_use + budget.window)
    budget.held[name], budget.needs[name], budget.asked[name] = nil, nil, nil
  end
  book.procs[name] = nil
end

-- 1. Find out what was lost, and which leases have ended.

if book.run ~= run then  -- restarted, failed over or moved: the last messages may be missing
  book.run = run
  for _, budget in pairs(book.budgets) do lose(budget) end
end

local process = book.procs[me]
if process and serial <= process.serial then return cmsgpack.pack({false, 0, {}}) end

for name, other in pairs(book.procs) do
  if other.ends < now then forget(name, other.ends + grace) end
end

if not raw then  -- the first message ever, or the first one after a loss
  book.distrusted_until = known and now + lease + grace or 0
  book.heard_at = now + CLAIM_TIME
end
book.procs[me] = {serial = serial, ends = now + lease}
local names = {}
for name in pairs(book.procs) do table.insert(names, name) end
table.sort(names)

-- 2. Compare the tokens that the caller claims with the book.

local function open(title, n, window, claim)
  local budget = {n = n, window = window, hold = 0, aside = 0, scarcer = {}}
  local server_is_new = uptime < lease + grace + window
  if claim > 0 or server_is_new or now < book.distrusted_until then
    lose(budget)
  else
    set_unknown(budget, book.heard_at)
  end
  book.budgets[title] = budget
  return budget
end

local function settle(budget, claim, given)
  local held = budget.held[me] or 0
  if now >= budget.known_at then
    add_home(budget, budget.unknown, budget.known_at)
    budget.unknown = 0
  end
  if claim > held then
    if #budget.home == budget.n and budget.home[budget.n] <= now then lose(budget) end
    local accepted = math.min(claim - held, budget.unknown)
    budget.unknown = budget.unknown - accepted
    claim = held + accepted
  elseif claim < held then
    table.sort(given)
    for i = 1, held - claim do
      local delay = given[#given + 1 - i] or budget.window + grace
      table.insert(budget.home, now + delay)  -- sorted by ``add_up``
    end
  end
  budget.held[me] = claim > 0 and claim or nil
end

-- Let the tokens add up to N, which may have changed: add free ones, or drop those free latest.
local function add_up(budget)
  local excess = #budget.home + budget.unknown - budget.n
  for _, held in pairs(budget.held) do excess = excess + held end
  add_home(budget, -excess, now)
  for _ = 1, math.min(excess, #budget.home) do table.remove(budget.home) end
end

-- 3. Compute how many tokens each process should hold.

-- Divide tokens into equal shares, none above its demand; return how many are left. The remainder
-- of the division rotates, so that no process goes without for long.
local function divide(budget, left, shares, demand)
  local first = math.floor(now / (ROTATION * budget.window)) * budget.n
  local demands, takers = {}, {}
  for i = 1, #names do
    local name = names[(first + i) % #names + 1]
    local need = budget.needs[name]
    demands[name] = need and demand(need, shares[name] or 0) or 0
    if demands[name] > 0 then table.insert(takers, name) end
  end
  local unsatisfied = #takers
  while unsatisfied > 0 and left > 0 do
    local part = math.max(math.floor(left / unsatisfied), 1)
    unsatisfied = 0
    for _, name in ipairs(takers) do
      local share = math.min(demands[name], part, left)
      shares[name] = (shares[name] or 0) + share
      demands[name], left = demands[name] - share, left - share
      unsatisfied = unsatisfied + (demands[name] > 0 and 1 or 0)
    end
  end
  return left
end

local function divide_all(budget)
  local shares = {}
  local left = divide(budget, budget.n, shares, function(need)
    return need.urgent > 0 and need.urgent + need.in_flight or 0
  end)
  left = divide(budget, left - keep_for_urgent, shares, function(need, share)
    return need.composite - share
  end)
  left = divide(budget, left, shares, function(need, share)
    return need.used + need.urgent + need.routine - share
  end)
  divide(budget, left, shares, function(need) return need.background end)
  return shares
end

-- 4. Lend the caller what it lacks, the soonest tokens first, except those for urgent calls.

-- Count the tokens at home that can be used sooner than those that a process holds.
local function count_sooner(budget, need)
  local count, from = 0, math.max(now, budget.hold)
  for _, at in ipairs(budget.home) do
    count = count + (math.max(at, from) + MIN_GAIN < need.soonest and 1 or 0)
  end
  return count
end

-- Count, over all processes but one: the tokens that they lack, their waiting urgent calls, and the
-- tokens at home that are for these calls.
local function count_elsewhere(budget, shares, one)
  local lacked, urgent, for_urgent = 0, 0, 0
  for name, need in pairs(budget.needs) do
    if name ~= one then
      local lack = math.max((shares[name] or 0) - (budget.held[name] or 0), 0)
      lacked, urgent = lacked + lack, urgent + need.urgent
      if need.urgent > 0 then
        for_urgent = for_urgent
          + math.max(lack, math.min(need.urgent, count_sooner(budget, need)))
      end
    end
  end
  return lacked, urgent, for_urgent
end

-- Move tokens from home to ``lent``: the soonest ones after the first ``skip``.
local function fetch(budget, lent, count, skip)
  for _ = 1, math.min(count, #budget.home - skip) do
    table.insert(lent, math.max(table.remove(budget.home, skip + 1) - now, 0))
  end
end

local function lend(budget, shares, from_aside, first_need)
  local held, need = budget.held[me] or 0, budget.needs[me]
  local lacked, urgent, for_urgent = count_elsewhere(budget, shares, me)
  local lack, skip = (shares[me] or 0) - held, for_urgent + keep_for_urgent
  if need.urgent > 0 then
    lack, skip = math.max(lack, math.min(need.urgent, count_sooner(budget, need))), 0
  elseif first_need then  -- other processes may be about to ask, too
    lack = math.min(lack, math.max(math.ceil(budget.n / #names) - held, 0))
  end
  if lacked + urgent == 0 then
    lack = math.max(lack, math.floor(budget.n / (#names + 1)) - (held - need.used))
  end
  local lent = {}
  fetch(budget, lent, from_aside, skip)
  fetch(budget, lent, lack - #lent, skip + (need.urgent > 0 and 0 or budget.aside))
  budget.held[me] = held + #lent > 0 and held + #lent or nil
  return lent
end

-- 5. Ask other processes to give tokens, or to fetch tokens that came home.

local notices = {}

-- A process gets at most one notice of each budget between two of its messages.
local function notify(name, budget, notice)
  if budget.asked[name] then return end
  budget.asked[name] = true
  notices[name] = notices[name] or {}
  table.insert(notices[name], notice)
end

-- Notify the processes that lack tokens and can fetch some; return how many are missing at home.
local function offer(title, budget, shares)
  local fetch_notice = {title, 0, false}
  local _, _, for_urgent = count_elsewhere(budget, shares)
  local missing = keep_for_urgent + budget.aside - #budget.home
  for name, share in pairs(shares) do
    local lack = share - (budget.held[name] or 0)
    if lack > 0 then
      local skip = for_urgent + keep_for_urgent + budget.aside
      if budget.needs[name].urgent > 0 then skip = 0 end
      missing = missing + lack
      if #budget.home > skip then notify(name, budget, fetch_notice) end
    end
  end
  for name, need in pairs(budget.needs) do  -- urgent calls whose own tokens are free later
    if need.urgent > 0 and count_sooner(budget, need) > 0 then
      notify(name, budget, fetch_notice)
    end
  end
  return missing
end

-- Compute how many tokens a process should give: for tokens missing at home, and for urgent calls.
local function surplus(need, held, share, missing, urgent)
  local over = held - share
  local give = math.max(math.min(over, missing), 0)
  if give > 0 then  -- at least half of its idle tokens at once
    give = math.max(give, math.min(over, math.ceil((held - need.used) / 2)))
  end
  if need.urgent > 0 then  -- except what its own urgent calls can use: it would ask for that again
    return math.min(give, math.max(held - need.in_flight - need.urgent, 0))
  end
  return math.max(give, math.min(held, urgent))
end

-- Notify the other processes that should give tokens; return how many the caller should give.
local function recall(title, budget, shares, missing, urgent)
  local own = 0
  for name, held in pairs(budget.held) do
    local need = budget.needs[name]
    local give = surplus(need, held, shares[name] or 0, missing, urgent)
    if name == me then
      own = give
    elseif give > 0 then
      notify(name, budget, {title, give, urgent > 0 and need.urgent == 0})
    end
  end
  return own
end

local lent_now = {}  -- tokens just lent to the caller, by budget

-- Set the tokens aside that came with tokens of scarcer budgets, as long as these are at home and a
-- call needs both; return how many go to the caller with the scarcer tokens that it was just lent.
local function set_aside(budget, scarcer, accompanying)
  local from_aside, most, composite = 0, 0, 0
  for name, ratio in pairs(scarcer) do
    budget.scarcer[name] = ratio
    from_aside = from_aside + ratio * (lent_now[name] or 0)
  end
  for name, ratio in pairs(budget.scarcer) do
    local other = book.budgets[name]
    most = most + ratio * (other and #other.home or 0)
  end
  for _, need in pairs(budget.needs) do composite = composite + need.composite end
  budget.aside = budget.aside + accompanying
  from_aside = math.min(from_aside, budget.aside)
  budget.aside = math.min(budget.aside - from_aside, most, composite)
  return from_aside
end

-- Return whether a call of another process waits for more tokens than its process holds.
local function others_wait(budget)
  for name, need in pairs(budget.needs) do
    local wanted = need.used + need.urgent + need.routine + need.background
    if name ~= me and wanted > (budget.held[name] or 0) then return true end
  end
  return false
end

local function hold_until(title, budget, at)
  if at <= math.max(budget.hold, now) then return end
  budget.hold = at
  for name in pairs(budget.held) do
    if name ~= me then notify(name, budget, {title, 0, false}) end
  end
end

-- Take what a message says of one budget; return the answer, a Lent of limits/store.py.
local function take(want)
  local title, n, window, taught, claim, given, used, in_flight, soonest, waiting, composite,
    scarcer, accompanying, pressing, hold = unpack(want)
  local budget = book.budgets[title] or open(title, n, window, claim)
  if taught then budget.n, budget.window = n, window end
  hold_until(title, budget, now + hold)
  local before = budget.needs[me] or {used = 0, routine = 0, background = 0}
  local first_need = before.used + before.routine + before.background == 0
  settle(budget, claim, given)
  add_up(budget)
  budget.needs[me] = {used = used, in_flight = in_flight, soonest = now + soonest,
    urgent = waiting[1], routine = waiting[2], background = waiting[3], composite = composite}
  budget.asked[me] = nil
  local from_aside = set_aside(budget, scarcer, accompanying)
  local shares = divide_all(budget)
  local lent = bye and {} or lend(budget, shares, from_aside, first_need)
  lent_now[title] = #lent
  for _, delay in ipairs(lent) do
    pressing = pressing - (delay == 0 and 1 or 0)
    budget.needs[me].soonest = math.min(budget.needs[me].soonest, now + delay)
  end
  local missing = offer(title, budget, shares)
  local give = recall(title, budget, shares, missing, pressing)
  if #lent > 0 then give = 0 end  -- otherwise the same token might go back and forth without end
  return {title, budget.n, budget.window, budget.held[me] or 0, lent, give,
    math.max(budget.hold - now, 0), math.max(shares[me] or 0, math.floor(budget.n / #names)),
    others_wait(budget)}
end

local answers = {}
for i, want in ipairs(wants) do answers[i] = take(want) end
if bye then forget(me, now + grace) end

redis.call('SET', KEYS[1], cmsgpack.pack(book), 'EX', BOOK_EXPIRES)
for name, notice in pairs(notices) do
  redis.call('PUBLISH', ARGV[2] .. name, cmsgpack.pack(notice))
end
return cmsgpack.pack({true, #names, answers})
