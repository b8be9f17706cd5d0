using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A machine whose vCPUs run in this process.</summary>
internal sealed class HostedMachine(string kind, Machine machine, ILogger log, Action stop) : ControlledMachine(kind, stop)
{
    private const string FixedDevices =
        "the guest of this machine looks for its devices when it boots: give them on the command line, or serve them with 'vmm serve'";

    private readonly SavingProgress _progress = new();

    internal override IReadOnlyList<ControlledDevice> Devices =>
        [.. machine.Host.Devices.Select(hosted => new ControlledDevice(hosted.Device, hosted.Reactor, hosted, null))];

    internal override IReadOnlyList<RemoteEndpoint> Reactors => machine.Host.Reactors;

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

    internal override ControlledDevice Add(NewDevice asked) => throw new NotSupportedException(FixedDevices);

    internal override Task RemoveAsync(ControlledDevice device) => throw new NotSupportedException(FixedDevices);

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
