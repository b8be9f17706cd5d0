using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A machine whose vCPUs run in this process.</summary>
/// <param name="kind">What was started.</param>
/// <param name="machine">The machine.</param>
/// <param name="setting">What it decides for its devices.</param>
/// <param name="log">Gets what happens.</param>
/// <param name="stop">Asks the process to end.</param>
/// <param name="sandbox">What the process keeps of its rights; null for all.</param>
internal sealed class HostedMachine(
    string kind, Machine machine, DeviceSetting setting, ILogger log, Action stop, SandboxPlan? sandbox = null)
    : ControlledMachine(kind, stop, sandbox)
{
    /// <summary>How long a guest has to let go of a device.</summary>
    private static readonly TimeSpan UnplugPatience = TimeSpan.FromSeconds(30);

    /// <summary>One is added at a time, so that each finds a free name.</summary>
    private readonly Lock _adding = new();

    private const string FixedDevices =
        "the simulated guest looks for its devices when it boots: give them on the command line, or use 'vmm boot' or 'vmm serve'";

    private readonly SavingProgress _progress = new();

    internal override IReadOnlyList<ControlledDevice> Devices =>
        [.. machine.Host.Devices.Select(Of)];

    internal override IReadOnlyList<RemoteEndpoint> Reactors => machine.Host.Reactors;

    internal override IReadOnlyList<ControlledConsole> Consoles => ControlledConsole.Of(machine.Host);

    private protected override bool IsPaused => machine.IsPaused;

    internal override void Pause()
    {
        machine.Pause();
        log.LogInformation(ToolEvents.MachinePaused, "the machine stands still");
    }

    internal override void Resume()
    {
        machine.Resume();
        log.LogInformation(ToolEvents.MachineResumed, "the machine goes on");
    }

    private protected override long? Resets => (machine as KvmMachine)?.Resets;

    internal override void PowerOff()
    {
        if (machine is not KvmMachine kvm)
        {
            base.PowerOff();
            return;
        }
        kvm.PressPowerButton();
        log.LogInformation(ToolEvents.PowerButton, "the power button was pressed: the guest shuts itself down if it heeds that");
    }

    internal override void Reset()
    {
        if (machine is not KvmMachine kvm)
        {
            base.Reset();
            return;
        }
        try
        {
            kvm.Reset();
        }
        catch (InvalidOperationException refused) when (refused is not ObjectDisposedException)
        {
            throw new ApiProblem(409, refused.Message);
        }
    }

    /// <summary>The options for its devices; null for a machine that can't be saved.</summary>
    internal DeviceWords? Words { get; init; }

    private protected override RestoreView? Restore =>
        Words is { } words ? new RestoreView { Options = words.All, Directory = Environment.CurrentDirectory } : null;

    private protected override SnapshotProgressView? Saving => _progress.View;

    internal override async Task<SnapshotView> SaveAsync(NewSnapshot asked, CancellationToken cancel)
    {
        if (machine is not KvmMachine kvm) return await base.SaveAsync(asked, cancel);
        foreach (string path in new[] { asked.Directory, asked.Base }.OfType<string>())
        {
            if (!Path.IsPathFullyQualified(path))
                throw new ArgumentException($"the directory '{path}' is not a full path: give one that begins with '/'");
        }
        try
        {
            SnapshotOptions options = new()
            {
                Stop = asked.Stop ?? false,
                Base = asked.Base,
                Disks = asked.Disks ?? false,
                Progress = _progress,
            };
            SnapshotResult saved = await kvm.SaveAsync(asked.Directory, options, cancel);
            log.LogInformation(ToolEvents.MachineSaved,
                "saved to '{Directory}': {Bytes} bytes of memory; the guest stood still for {Stopped:0.0} ms",
                saved.Directory, saved.BytesWritten, saved.Stopped.TotalMilliseconds);
            return new SnapshotView
            {
                Directory = saved.Directory,
                BytesWritten = saved.BytesWritten,
                StoppedSeconds = saved.Stopped.TotalSeconds,
                ElapsedSeconds = saved.Elapsed.TotalSeconds,
                DiskBytesCopied = saved.DiskBytesCopied,
            };
        }
        catch (InvalidOperationException refused) when (refused is not ObjectDisposedException)
        {
            throw new ApiProblem(409, refused.Message);
        }
        catch (StateException refused)
        {
            throw new ApiProblem(409, refused.Message);
        }
        finally
        {
            _progress.View = null;
        }
    }

    internal override ControlledDevice Add(NewDevice asked)
    {
        if (machine is not KvmMachine kvm) throw new NotSupportedException(FixedDevices);
        DeviceKind kind = KindOf(asked);
        DeviceOption option = new(kind, isServed: false);
        lock (_adding)
        {
            RequestedDevice device = Describe(asked.Options, kind.DeviceName, option.Plug);
            if (kind.IsSingle && device.Name != kind.DeviceName(0))
                throw new ArgumentException($"the machine has its {kind.Name} already, '{kind.DeviceName(0)}': it takes one only");
            try
            {
                HostedDevice added = kvm.Plug(device.Name, device.Spec, setting);
                Words?.Add(kind, device.Name, [$"{option.Name}={asked.Options}"]);
                log.LogInformation(ToolEvents.DeviceAdded, "{Device}: added, the guest is asked to look for it", device.Name);
                return Of(added);
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                throw Refusal(refused);
            }
        }
    }

    internal override async Task RemoveAsync(ControlledDevice device)
    {
        if (machine is not KvmMachine kvm) throw new NotSupportedException(FixedDevices);
        string name = device.Device.Name;
        using CancellationTokenSource patience = new(UnplugPatience);
        try
        {
            await kvm.UnplugAsync((HostedDevice)device.Inspected, patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            throw new ApiProblem(409, $"the guest did not let go of '{name}' within {UnplugPatience.TotalSeconds} s, and keeps it: "
                + "install vmm's rule there, or unbind it by hand (docs/operations/api.md, 'Devices of a machine on KVM')");
        }
        catch (ArgumentException)
        {
            throw new ApiProblem(404, $"device '{name}' is being removed already");
        }
        Words?.Remove(name);
        log.LogInformation(ToolEvents.DeviceRemoved, "{Device}: removed", name);
    }

    private static ControlledDevice Of(HostedDevice hosted) => new(hosted.Device, hosted.Reactor, hosted, null);

    /// <summary>Remembers how far a save is, for who asks.</summary>
    private sealed class SavingProgress : IProgress<SnapshotProgress>
    {
        private volatile SnapshotProgressView? _view;

        internal SnapshotProgressView? View
        {
            get => _view;
            set => _view = value;
        }

        public void Report(SnapshotProgress value) =>
            _view = new SnapshotProgressView { BytesDone = (long)value.BytesDone, BytesTotal = (long)value.BytesTotal };
    }
}
