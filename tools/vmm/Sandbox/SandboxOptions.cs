using System.CommandLine;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Sandbox;

namespace Vmm.Tool;

/// <summary>
/// <c>--sandbox</c>, <c>--sandbox-action</c> and <c>--user</c>: what this process gives up before it reads a byte of a guest.
/// </summary>
internal sealed class SandboxOptions
{
    private readonly ChoiceOption _mode = new("--sandbox",
        "Keep only what the options name: files, ports and system calls. 'auto' takes what the kernel has and says what it lacks, "
        + "'require' refuses to start without all of it.", standard: "auto", "auto", "require", "off");

    private readonly ChoiceOption _action = new("--sandbox-action",
        "What becomes of a system call that has no use here: it fails, it ends this process, or it is logged and carried out. "
        + "What can only be an attack ends it in the first case too.", standard: "errno", "errno", "kill", "log");

    private readonly TextOption _user = new("--user", "NAME|UID[:GID]",
        "Become this user first, without further groups: what the options name must be that user's to open.");

    internal void AddTo(Command command)
    {
        command.Options.Add(_mode);
        command.Options.Add(_action);
        command.Options.Add(_user);
    }

    /// <summary>What does not fit together, each in a sentence.</summary>
    internal IEnumerable<string> Contradictions(ParseResult parsed)
    {
        if (_mode.In(parsed) == "off" && parsed.GetValue(_user) is { } user)
            yield return $"--user '{user}': with --sandbox=off this process stays who it is: leave one of them out";
    }

    /// <summary>
    /// Makes what devices ask for, and goes into the sandbox. After it, what the plan does not name cannot be opened any more. Before it,
    /// this process starts no thread.
    /// </summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="devices">The devices.</param>
    /// <param name="others">What the command opens of the host beside them.</param>
    /// <param name="keepsCore">Whether a crash may leave a core file.</param>
    /// <param name="needsKvm">Whether a machine runs on KVM.</param>
    /// <param name="opensLater">Whether devices may come later, whose files no option names: 'auto' leaves files open then.</param>
    /// <param name="savesMachines">Whether the machine may be saved: a directory is made, and gets its name.</param>
    /// <param name="api">Where the API listens by which they come; null for nowhere.</param>
    /// <returns>What <see cref="ProcessSandbox.Close"/> takes; null without a sandbox.</returns>
    internal SandboxPlan? Enter(ParseResult parsed, IReadOnlyList<RequestedDevice> devices, IReadOnlyList<HostAccess> others,
        bool keepsCore, bool needsKvm, bool opensLater = false, bool savesMachines = false, ApiPlaces? api = null)
    {
        // What comes over a network no broker reads.
        string? brokered = opensLater && api is { Socket: { } path, Tls: null } ? path : null;
        // What is said now waits until then: a reader of standard error that stands still costs a thread.
        List<(LogLevel Level, string Sentence)> lines = [];
        foreach (RequestedDevice device in devices) device.Spec.Prepare(line => lines.Add((LogLevel.Information, line)));
        try
        {
            string? mode = _mode.In(parsed);
            if (mode == "off") return null;
            if (WhyNone() is { } why)
            {
                if (mode == "require") throw new IOException($"--sandbox=require: {why}");
                lines.Add((LogLevel.Warning, $"no sandbox: {why}"));
                return null;
            }
            SandboxPlan plan = PlanOf(mode);
            IReadOnlyList<string> lacks = ProcessSandbox.Lacks();
            if (mode == "require" && lacks.Count > 0) throw new IOException($"--sandbox=require: {lacks[0]}");
            lines.AddRange(lacks.Select(lack => (LogLevel.Warning, lack)));
            // Other processes, and so the ones that have an image, are not seen from inside.
            foreach (DiskSpec disk in devices.Select(device => device.Spec).OfType<DiskSpec>()) disk.CheckNotInUse();
            if (brokered is not null)
                plan = plan with { Broker = BrokerProcess.Start(parsed.CommandResult.Command.Name, brokered, plan.User) };
            Enclose(plan);
            return plan;
        }
        finally
        {
            foreach ((LogLevel level, string sentence) in lines) StandardError.Say(level, sentence);
        }

        SandboxPlan PlanOf(string? mode)
        {
            bool givesGroups = devices.Any(device => device.Socket?.Access.Group is not null);
            return new SandboxPlan
            {
                Accesses =
                [
                    .. others.Where(access => brokered is null || access != new HostAccess(HostAccessKind.Listen, brokered)),
                    // The groups of sockets that come later.
                    .. brokered is null ? [] : (HostAccess[])[new(HostAccessKind.Read, "/etc/group")],
                    .. devices.SelectMany(device => device.Spec.HostAccesses()),
                ],
                Opened =
                [
                    .. devices.Where(device => device.Socket is { Descriptor: null })
                        .Select(device => new HostAccess(HostAccessKind.Listen, device.Socket!.Path)),
                    // Their numbers are looked up when the sockets are made.
                    .. givesGroups ? [new(HostAccessKind.Read, "/etc/group")] : (HostAccess[])[],
                ],
                Layers = opensLater && mode == "auto" && brokered is null
                    ? SandboxLayers.Privileges | SandboxLayers.SystemCalls : SandboxLayers.All,
                Descriptors = [.. devices.Select(device => device.Socket?.Descriptor).Append(IsolatedDevice.PassedSocket).OfType<int>()],
                GivesGroups = givesGroups,
                User = parsed.GetValue(_user),
                KeepsCore = keepsCore,
                NeedsKvm = needsKvm,
                SavesMachines = savesMachines,
                DevicesComeLater = opensLater,
                NeedsAbstractSockets = Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is ['@', ..],
                Action = _action.In(parsed) switch
                {
                    "kill" => SystemCallAction.Kill,
                    "log" => SystemCallAction.Log,
                    _ => SystemCallAction.Refuse,
                },
            };
        }
    }

    /// <summary>Everything a run needs is open: from now on, only the system calls of the plan.</summary>
    internal static void Close(SandboxPlan? plan, Action<SandboxPlan> close)
    {
        if (plan is null) return;
        ServiceNotification.TryOpen();
        close(plan);
    }

    private static void Enclose(SandboxPlan plan)
    {
        try
        {
            ProcessSandbox.Enclose(plan);
        }
        catch (ArgumentException refused)
        {
            throw new UsageException($"--user {refused.Message}");
        }
    }

    /// <summary>Why this process cannot go into a sandbox; null if it can.</summary>
    private static string? WhyNone()
    {
        // A program that compiles itself while it runs writes code, and opens what it compiles. Its host lists what it may load.
        if (AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") is not null)
            return "only the published file can lock itself up (tools/publish.sh makes it)";
        return Directory.Exists("/proc/self/task") ? null : "there is no /proc, in which this program finds its own threads: mount it";
    }
}
