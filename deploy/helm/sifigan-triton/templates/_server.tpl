{{/* The server's options, as variables of its environment. */}}
{{- define "sifigan-triton.options" -}}
SIFIGAN_MODELS: {{ join " " .Values.models | quote }}
SIFIGAN_GPU: {{ ternary "yes" "no" (ne .Values.gpu.resource "") | quote }}
SIFIGAN_MAX_IN_FLIGHT: {{ .Values.limits.inFlight | quote }}
SIFIGAN_MAX_REQUEST_MB: {{ .Values.limits.requestMiB | quote }}
SIFIGAN_GRACE: {{ .Values.limits.graceSeconds | quote }}
{{- /* Both: a folder without models stops the start, instead of serving the voice that came with the image. */}}
{{- if .Values.kserve.enabled }}
SIFIGAN_BUILT: /mnt/models
SIFIGAN_BAKED: /mnt/models
{{- else if eq .Values.repository.from "claim" }}
{{- $folder := list "/models" .Values.repository.claim.path | join "/" | clean }}
SIFIGAN_BUILT: {{ $folder }}
SIFIGAN_BAKED: {{ $folder }}
{{- else if eq .Values.repository.from "store" }}
{{- with .Values.repository.store }}
SIFIGAN_REPOSITORY: {{ required "repository.store.uri is empty, expected s3://bucket/prefix" .uri | quote }}
{{- with .endpoint }}
AWS_ENDPOINT_URL_S3: {{ . | quote }}
{{- end }}
{{- with .region }}
AWS_REGION: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.environment }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The variables that come from a Secret: credentials of the object store. */}}
{{- define "sifigan-triton.credentials" -}}
{{- $secret := .Values.repository.store.existingSecret -}}
{{- if and (eq .Values.repository.from "store") $secret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ . }}
      {{- if eq . "AWS_SESSION_TOKEN" }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a server is given. What it writes in /dev/shm counts as its memory. */}}
{{- define "sifigan-triton.resources" -}}
{{- $memory := printf "%sMi" (include "sifigan-triton.memoryMiB" .) -}}
requests:
  cpu: {{ .Values.resources.cpu | quote }}
  memory: {{ $memory }}
  ephemeral-storage: {{ .Values.resources.temporaryMiB }}Mi
limits:
  {{- with .Values.resources.cpuLimit }}
  cpu: {{ . | quote }}
  {{- end }}
  memory: {{ $memory }}
  ephemeral-storage: {{ add .Values.resources.temporaryMiB 512 }}Mi
  {{- with .Values.gpu.resource }}
  {{ . }}: {{ $.Values.gpu.count }}
  {{- end }}
{{- end -}}

{{/* Image, ports, probes, volumes of the server's container, which the Deployment and KServe's runtime share. */}}
{{- define "sifigan-triton.container" -}}
image: {{ include "sifigan-triton.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "sifigan-triton.securityContext" . | nindent 2 }}
ports:
  - name: http
    containerPort: 8000
    protocol: TCP
  - name: grpc
    containerPort: 8001
    protocol: TCP
  - name: metrics
    containerPort: 8002
    protocol: TCP
# It makes sound: the models are there, compiled and heard. It has 10 minutes at least.
startupProbe:
  exec:
    command: {{ include "sifigan-triton.health" (list . "localhost:8000" 25) }}
  periodSeconds: 10
  timeoutSeconds: 30
  failureThreshold: 60
# It lets calls in: not while it starts again or stops. One that is full stays ready, and refuses by itself.
readinessProbe:
  httpGet:
    path: /v2/health/ready
    port: http
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
# No sound for five minutes: its supervisor, which starts Triton again by itself, could not help.
livenessProbe:
  exec:
    command: {{ include "sifigan-triton.health" (list . "localhost:8000" 50) }}
  periodSeconds: 60
  timeoutSeconds: 55
  failureThreshold: 5
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .Values.preStopSeconds | quote }}]
resources:
  {{- include "sifigan-triton.resources" . | nindent 2 }}
volumeMounts:
  - name: shm
    mountPath: /dev/shm
  - name: temporary
    mountPath: /tmp
  {{- if and (eq .Values.repository.from "claim") (not .Values.kserve.enabled) }}
  - name: models
    mountPath: /models
    readOnly: true
  {{- end }}
{{- end -}}

{{- define "sifigan-triton.volumes" -}}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ include "sifigan-triton.shmMiB" . }}Mi
- name: temporary
  emptyDir:
    sizeLimit: {{ .Values.resources.temporaryMiB }}Mi
{{- if and (eq .Values.repository.from "claim") (not .Values.kserve.enabled) }}
- name: models
  persistentVolumeClaim:
    claimName: {{ required "repository.claim.name is empty, expected a PersistentVolumeClaim" .Values.repository.claim.name }}
    readOnly: true
{{- end }}
{{- end -}}

{{/* What Deployment and InferenceService say of a server's pod, besides containers and volumes. */}}
{{- define "sifigan-triton.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
# The pause container collects what a server that was ended leaves behind.
shareProcessNamespace: true
terminationGracePeriodSeconds: {{ include "sifigan-triton.terminationSeconds" . }}
securityContext:
  {{- include "sifigan-triton.podSecurityContext" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.gpu.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if .Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "sifigan-triton.selectorLabels" (list $ "server") | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}
