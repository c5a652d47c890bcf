-- What the front looks at in a call before Triton sees it. Envoy runs this (its HTTP filter "lua"); front_config.py
-- puts the numbers in.
--
-- The JSON is not parsed, only scanned: strings, brackets and shapes. Triton's own parser reads it afterwards.

local LONG_BYTES = @LONG_BYTES@
local MAX_DEPTH = 8
local MAX_DIMS = 4
local MAX_DIGITS = 10
local OURS = "envoy.filters.http.lua"

local function refuse(handle, status, reason, message)
  handle:streamInfo():dynamicMetadata():set(OURS, "reason", reason)
  handle:respond({ [":status"] = status }, message)
end

-- Return what is wrong with the values of a shape, nil if nothing is. Triton makes room for as many values as a shape
-- promises, before it looks for them: no more can be there than the body has bytes.
local function wrong_shape(list, bytes)
  local values, dims = 1, 0
  for item in (list:sub(2, -2) .. ","):gmatch("%s*(.-)%s*,") do
    dims = dims + 1
    if dims > MAX_DIMS then return "a shape has more than " .. MAX_DIMS .. " axes" end
    if not item:find("^%d+$") or #item > MAX_DIGITS then
      return "a shape holds '" .. item:sub(1, 24) .. "', expected numbers from 0 to 9999999999"
    end
    values = values * tonumber(item)
  end
  if values > bytes then
    return "a shape promises more values than the request has bytes (" .. bytes .. ")"
  end
end

-- Return reason and message of what is wrong with a request's JSON, nil if nothing is.
local function wrong_json(text, bytes)
  if text:find("\\", 1, true) then
    return "json_escape", "the JSON of a request may have no backslash: write every name as it is"
  end
  if text:find("\0", 1, true) then
    return "json_malformed", "the JSON of a request holds a byte 0"
  end
  local at, depth = 1, 0
  while true do
    local found = text:find('["%[%]{}]', at)
    if not found then break end
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

function envoy_on_request(handle)
  handle:headers():remove("x-sifigan-long")
  local path = handle:headers():get(":path")
  local grpc = path == "/inference.GRPCInferenceService/ModelInfer"
  if not grpc and not path:find("^/v2/models/[^?]*/infer") then return end -- without waiting for its body

  local encoding = handle:headers():get("content-encoding") or handle:headers():get("grpc-encoding") or "identity"
  if encoding ~= "identity" then
    refuse(handle, "415", "compressed", "requests may not be compressed, this one is: '" .. encoding:sub(1, 16) .. "'")
    return
  end
  local body = handle:body() -- waits until all of it is there; the headers have to be asked for anew
  local size = body and body:length() or 0
  if size > LONG_BYTES then
    handle:headers():replace("x-sifigan-long", "yes")
    handle:clearRouteCache()
  end
  if grpc then return end
  -- Where a script fails, Envoy lets the call pass: so nothing here may fail.
  local fine, status, reason, message = pcall(wrong_call, handle:headers(), body, size)
  if not fine then
    handle:logErr(tostring(status))
    status, reason, message = "500", "script", "the request could not be looked at"
  end
  if status then refuse(handle, status, reason, message) end
end

-- gRPC knows too few of HTTP's statuses: what is too large or malformed would be UNKNOWN or INTERNAL there.
local GRPC_STATUS = { ["@TOO_LARGE@"] = "8", ["requests may not be compressed"] = "12",
  ["Unable to parse request"] = "3" }

local MALFORMED = { "^{\"error\":\"Unable to parse", "^{\"error\":\"Unable to set", "^{\"error\":\"failed to parse" }

function envoy_on_response(handle)
  local status, grpc_status = handle:headers():get(":status"), handle:headers():get("grpc-status")
  if status == "503" or grpc_status == "14" then
    handle:headers():replace("retry-after", "1")
  elseif grpc_status == "2" or grpc_status == "13" then
    local text = handle:headers():get("grpc-message") or ""
    for start, better in pairs(GRPC_STATUS) do
      if text:find(start, 1, true) == 1 then handle:headers():replace("grpc-status", better) end
    end
  elseif status == "501" then -- what it asks for is not known to Triton
    handle:headers():replace(":status", "400")
  elseif status == "500" then -- what Triton answers to JSON that it cannot read, too
    local body = handle:body()
    local text = body and body:getBytes(0, math.min(body:length(), 64)) or ""
    for _, start in ipairs(MALFORMED) do
      if text:find(start) then handle:headers():replace(":status", "400") end
    end
  end
end
