-- What the front looks at in a call before Triton sees it. Envoy runs this (its HTTP filter "lua"); config.py
-- puts the numbers in.
--
-- The JSON is not parsed, only scanned: strings, brackets and shapes. Triton's own parser reads it afterwards.

local LONG_BYTES = @LONG_BYTES@
local MAX_DEPTH = 8
local MAX_DIMS = 4
local MAX_DIGITS = 10
local MAX_VALUES = @MAX_VALUES@ -- of a tensor that is no part of the body, as in shared memory; nil: there are none
local MAX_FIELDS = 2000
local MAX_TOKENS = 500000 -- brackets and strings of a request's JSON: its look must not keep other calls waiting
local MAX_LIST = 100 -- bytes of a shape
local MAX_OTHER = 65536 -- bytes of a body that is no inference
local MAX_PATH = 512 -- Triton drops calls with paths of some thousand bytes
local OURS = "envoy.filters.http.lua"

local function refuse(handle, status, reason, message)
  handle:streamInfo():dynamicMetadata():set(OURS, "reason", reason)
  handle:respond({ [":status"] = status }, message)
end

-- Return what is wrong with a number of values, nil if nothing is. Triton makes room for as many values as a shape
-- promises, before it looks for them, and some numbers it wraps around: no more can be there than the body has bytes.
local function wrong_count(values, bytes)
  if values > (MAX_VALUES or bytes) then
    return "a shape promises more values than the request has bytes (" .. bytes .. ")"
  end
end

local function wrong_shape(list, bytes)
  local values, dims = 1, 0
  if #list > MAX_LIST then return "a shape is written in more than " .. MAX_LIST .. " bytes" end
  for item in (list:sub(2, -2) .. ","):gmatch("%s*(.-)%s*,") do
    dims = dims + 1
    if dims > MAX_DIMS then return "a shape has more than " .. MAX_DIMS .. " axes" end
    if not item:find("^%d+$") or #item > MAX_DIGITS then
      return "a shape holds '" .. item:sub(1, 24) .. "', expected numbers from 0 to 9999999999"
    end
    values = values * tonumber(item)
  end
  return wrong_count(values, bytes)
end

-- Return reason and message of what is wrong with a request's JSON, nil if nothing is.
local function wrong_json(text, bytes)
  if text:find("\\", 1, true) then
    return "json_escape", "the JSON of a request may have no backslash: write every name as it is"
  end
  if text:find("\0", 1, true) then
    return "json_malformed", "the JSON of a request holds a byte 0"
  end
  local at, depth, tokens = 1, 0, 0
  while true do
    local found = text:find('["%[%]{}]', at)
    if not found then break end
    tokens = tokens + 1
    if tokens > MAX_TOKENS then
      return "json_size", "the JSON of a request has more than " .. MAX_TOKENS .. " lists and names: send flat lists"
    end
    local byte = text:byte(found)
    at = found + 1
    if byte == 34 then -- a string: nothing inside it counts
      local close = text:find('"', at, true)
      if not close then return "json_malformed", "the JSON of a request ends inside a string" end
      if close - at == 5 and text:sub(at, close - 1) == "shape" then
        local list = text:match("^%s*:%s*(%b[])", close + 1)
        if not list and text:find("^%s*:", close + 1) then
          return "shape", "a shape is no list of numbers"
        end
        local wrong = list and wrong_shape(list, bytes)
        if wrong then return "shape", wrong end
      end
      at = close + 1
    elseif byte == 91 or byte == 123 then
      depth = depth + 1
      if depth > MAX_DEPTH then
        return "json_depth", "the JSON of a request is nested deeper than " .. MAX_DEPTH .. " levels"
      end
    else
      depth = depth - 1
    end
  end
end

-- Return how many of a body's bytes are JSON; nil where the header that says so cannot be right.
local function json_bytes(headers, size)
  local given = headers:get("inference-header-content-length")
  if not given then return size end
  if not given:find("^%d+$") or #given > MAX_DIGITS or tonumber(given) > size then return nil end
  return tonumber(given)
end

-- Return status, reason and message of what is wrong with a call over HTTP, nil if nothing is.
local function wrong_call(headers, body, size)
  local count = json_bytes(headers, size)
  if not count then
    return "400", "header_length", "Inference-Header-Content-Length is wrong for a body of " .. size
      .. " bytes: it is the length of the JSON"
  end
  local reason, message = wrong_json(count > 0 and body:getBytes(0, count) or "", size)
  if reason then return "400", reason, message end
end

-- Protocol buffers: return the number at a place, and the place behind it. A number of more than 5 bytes is negative, or
-- larger than anything that a request may hold.
local function varint(body, at, stop)
  local bytes, value, scale = body:getBytes(at, math.min(5, stop - at)), 0, 1
  for index = 1, #bytes do
    local byte = bytes:byte(index)
    value = value + (byte % 128) * scale
    if byte < 128 then return value, at + index end
    scale = scale * 128
  end
  return nil, "a number is negative, too large or cut"
end

-- Call `visit(field, start, stop)` for each field of a message: where its bytes stand, or its number where it has none.
-- Return what is wrong, nil if nothing is.
local function fields(body, at, stop, budget, visit)
  while at < stop do
    budget.left = budget.left - 1
    if budget.left < 0 then return "it has more than " .. MAX_FIELDS .. " fields" end
    local tag, value, wrong
    tag, at = varint(body, at, stop)
    if not tag then return at end
    local field, kind = math.floor(tag / 8), tag % 8
    if field < 1 or tag >= 2 ^ 32 then return "it has a field that cannot be" end -- others would drop the high bits
    if kind == 0 then
      value, wrong = varint(body, at, stop)
      if value then
        at = wrong
      elseif field ~= 3 then -- not a shape's: it may have 10 bytes
        local last = body:getBytes(at, math.min(10, stop - at)):find("[%z\1-\127]")
        if not last then return "a number is too long or cut" end
        at = at + last
      else
        return wrong
      end
      wrong = visit(field, value, nil)
    elseif kind == 2 then
      local length
      length, at = varint(body, at, stop)
      if not length then return at end
      if length > stop - at then return "a field is longer than the message" end
      wrong = visit(field, at, at + length)
      at = at + length
    elseif kind == 1 or kind == 5 then
      at = at + (kind == 1 and 8 or 4)
    else
      return "it has fields of a kind that is not in use"
    end
    if wrong then return wrong end
  end
  if at > stop then return "it is cut" end
end

-- Return status, reason and message of what is wrong with a ModelInferRequest, nil if nothing is. Its field 5 are the
-- input tensors, whose field 3 is the shape.
local function wrong_message(body, size)
  if size < 5 then return "400", "protobuf", "the message is cut" end
  local flag, a, b, c, d = body:getBytes(0, 5):byte(1, 5)
  if flag ~= 0 then return "415", "compressed", "requests may not be compressed" end
  if ((a * 256 + b) * 256 + c) * 256 + d ~= size - 5 then
    return "400", "protobuf", "the message has another length than it says"
  end
  local budget, reason = { left = MAX_FIELDS }, "protobuf"
  local wrong = fields(body, 5, size, budget, function(field, start, stop)
    if field ~= 5 or not stop then return end
    local values, dims = 1, 0
    local function dim(value)
      dims = dims + 1
      values = values * value
      reason = "shape"
      if dims > MAX_DIMS then return "a shape has more than " .. MAX_DIMS .. " axes" end
    end
    return fields(body, start, stop, budget, function(inner, at, till)
      if inner ~= 3 then return end
      if not till then return dim(at) or wrong_count(values, size) end
      while at < till do
        local value
        value, at = varint(body, at, till)
        local bad = not value and at or dim(value)
        if bad then return bad end
      end
      return wrong_count(values, size)
    end)
  end)
  if wrong then return "400", reason, "the request cannot be read: " .. wrong end
end

function envoy_on_request(handle)
  handle:headers():remove("x-sifigan-long")
  local path = handle:headers():get(":path")
  if #path > MAX_PATH then
    refuse(handle, "414", "path", "the path has more than " .. MAX_PATH .. " bytes")
    return
  end
  local name = path:match("^[^?]*")
  local grpc = name == "/inference.GRPCInferenceService/ModelInfer"
  if name == "/inference.GRPCInferenceService/ModelStreamInfer" then return end -- closed; its body may never end

  local encoding = handle:headers():get("content-encoding") or handle:headers():get("grpc-encoding") or "identity"
  if encoding ~= "identity" then
    refuse(handle, "415", "compressed", "requests may not be compressed, this one is: '" .. encoding:sub(1, 16) .. "'")
    return
  end
  local body = handle:body() -- waits until all of it is there; the headers have to be asked for anew
  local size = body and body:length() or 0
  if not grpc and not name:find("^/v2/models/.*/infer$") then
    if size > MAX_OTHER then
      refuse(handle, "413", "body", "@TOO_LARGE@, expected at most " .. MAX_OTHER .. " bytes here")
    end
    return
  end
  if size > LONG_BYTES then handle:headers():replace("x-sifigan-long", "yes") end
  handle:clearRouteCache() -- chosen when the headers came: meanwhile another Triton may serve, or none
  local look = grpc and function(_, ...) return wrong_message(...) end or wrong_call
  -- Where a script fails, Envoy lets the call pass: so nothing here may fail.
  local fine, status, reason, message = pcall(look, handle:headers(), body, size)
  if not fine then
    handle:logErr(tostring(status))
    status, reason, message = "500", "script", "the request could not be looked at"
  end
  if status then refuse(handle, status, reason, message) end
end

-- Statuses of answers that would put the blame on the wrong side: how their text begins or what it holds, what they
-- become over HTTP and gRPC, and what callers are told where the text is not for them.
local AWAY = "a process of the server was lost, it is started again: try again"
local BETTER = {
  { "@TOO_LARGE@", nil, "8" },
  { "requests may not be compressed", nil, "12" },
  { "Unable to parse", "400", "3" },
  { "Unable to set", "400", "3" },
  { "failed to parse", "400", "3" },
  { "failed to get request params", "400", "3" },
  { "the request cannot be read", nil, "3" },
  { "Stub process", "503", "14", AWAY },
  { "shared memory", "503", "14", "the server has no memory left for this call: try again later" },
}

local function better(text)
  for _, row in ipairs(BETTER) do
    if text:find(row[1], 1, true) then return row end
  end
end

local function mend_http(handle)
  local body = handle:body()
  local row = body and better(body:getBytes(0, math.min(body:length(), 1000)))
  if not row or not row[2] then return end
  handle:headers():replace(":status", row[2])
  if row[4] then
    handle:headers():replace("content-length", body:setBytes('{"error":"' .. row[4] .. '"}'))
  end
end

local function mend_grpc(handle)
  local row = better(handle:headers():get("grpc-message") or "")
  if not row then return end
  handle:headers():replace("grpc-status", row[3])
  if row[4] then handle:headers():replace("grpc-message", row[4]) end
end

function envoy_on_response(handle)
  local status, grpc_status = handle:headers():get(":status"), handle:headers():get("grpc-status")
  if status == "501" then -- what it asks for is not known to Triton
    handle:headers():replace(":status", "400")
  elseif status == "500" then
    mend_http(handle)
  elseif grpc_status == "2" or grpc_status == "13" then
    mend_grpc(handle)
  end
  if handle:headers():get(":status") == "503" or handle:headers():get("grpc-status") == "14" then
    handle:headers():replace("retry-after", "1")
  end
end
