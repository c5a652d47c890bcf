{{/* Names, labels and settings that several templates share. */}}

{{/* How names of this release begin: at most 52 characters, so that a suffix fits into the 63 of a label. */}}
{{- define "sifigan-triton.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $both .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of everything: (list . "server"); the component is server, gateway, bulk or test. */}}
{{- define "sifigan-triton.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "sifigan-triton.selectorLabels" . }}
{{- end -}}

{{/* Labels that select pods, which never change: (list . "server"). */}}
{{- define "sifigan-triton.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The image of server, bulk work and test. */}}
{{- define "sifigan-triton.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* securityContext of a container: what the "restricted" profile wants, and a file system that cannot be written. */}}
{{- define "sifigan-triton.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
{{- end -}}

{{/* securityContext of a pod. */}}
{{- define "sifigan-triton.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Name of the service account. */}}
{{- define "sifigan-triton.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "sifigan-triton.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/*
MiB of /dev/shm, as docs/reference/server.md counts: 8 MiB from the start for each of 4 models of a voice, and 2.7 kB a frame for what
is in flight over each of HTTP and gRPC: so many calls of 12,000 frames, and a quarter, at least one, of the longest.
A frame has 176 bytes in a request. An eighth on top.
*/}}
{{- define "sifigan-triton.shmMiB" -}}
{{- with .Values.limits -}}
{{- $long := max 1 (div .inFlight 4) -}}
{{- $longest := min (int64 .longestFrames) (div (mul .requestMiB 1048576) 176) -}}
{{- $frames := mul 2 (add (mul .inFlight 12000) (mul $long $longest)) -}}
{{- $bytes := add (mul 4 8 1048576 (len $.Values.models | max 1)) (mul $frames 2700) -}}
{{- div (mul $bytes 9) (mul 8 1048576) | add 1 | mul (include "sifigan-triton.tritons" $) -}}
{{- end -}}
{{- end -}}

{{/* How many Tritons a pod may hold at once: with a store the next release is started beside the one that serves. */}}
{{- define "sifigan-triton.tritons" -}}
{{ ternary 2 1 (and (eq .Values.repository.from "store") (not .Values.kserve.enabled)) }}
{{- end -}}

{{/* MiB of the whole container: the server, what stands in /dev/shm, and 1 GiB of bodies in its proxy. */}}
{{- define "sifigan-triton.memoryMiB" -}}
{{- $server := mul .Values.resources.memoryMiB (include "sifigan-triton.tritons" .) -}}
{{ add $server (include "sifigan-triton.shmMiB" .) 1024 }}
{{- end -}}

{{/* Seconds from SIGTERM's announcement to SIGKILL: preStop, the calls in flight, and 20 s to end. */}}
{{- define "sifigan-triton.terminationSeconds" -}}
{{ add .Values.preStopSeconds .Values.limits.graceSeconds 20 }}
{{- end -}}

{{/* Command of the health check: (list . "localhost:8000" 25); sifigan, or the models that are served instead. */}}
{{- define "sifigan-triton.health" -}}
{{- $command := list "python3" "-m" "sifigan_triton.server.health" "--url" (index . 1) "--timeout" (index . 2 | toString) -}}
{{- $models := (index . 0).Values.models -}}
{{- if and $models (not (has "sifigan" $models)) -}}
{{- $command = concat $command (list "--model") $models -}}
{{- end -}}
{{ toJson $command }}
{{- end -}}

{{/* Label matchers of the servers' series in PromQL, without braces. */}}
{{- define "sifigan-triton.series" -}}
namespace="{{ .Release.Namespace }}",job="{{ include "sifigan-triton.fullname" . }}-headless"
{{- end -}}

{{/* The same of the engine: its models, of one voice or of several, and not the ensembles around it. */}}
{{- define "sifigan-triton.engineSeries" -}}
{{ include "sifigan-triton.series" . }},model=~"sifigan-.*{{ .Values.engine }}",model!~".*ensemble.*"
{{- end -}}
