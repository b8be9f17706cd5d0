using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <content>What the operator reads of a connection: who came, what its driver took, when it left.</content>
internal sealed partial class VhostUserSession
{
    /// <summary>How long after a ring's kick a front-end may take to share memory, which comes before rings usually.</summary>
    private static readonly TimeSpan MemoryPatience = TimeSpan.FromSeconds(10);

    /// <summary>Of a process's name (proc(5), comm).</summary>
    private const int NameBytesMax = 16;

    private readonly long _since = Environment.TickCount64;
    private ReactorTimer? _memoryWatch;

    private bool IsAnnounced => _options.Logger.IsEnabled(LogLevel.Information);

    /// <summary>Describes the connection. On the reactor.</summary>
    internal void Inspect(InspectNode node)
    {
        node.Add("process", _socket.Fd.PeerProcessId());
        node.Add("seconds", (Environment.TickCount64 - _since) / 1000);
        node.Add("regions", _memory.Regions.Count);
        node.Add("memory-bytes", (long)_memory.Regions.Aggregate(0UL, (sum, region) => sum + region.Length));
        node.Add("in-flight-log", _inflight is not null);
    }

    private void AnnounceFrontEnd()
    {
        if (!IsAnnounced) return;
        int process = _socket.Fd.PeerProcessId();
        _backend.Announce(DeviceEvents.FrontEndConnected, process > 0
            ? $"a front-end is connected: process {process}{NameOf(process)}"
            : "a front-end is connected: a process that is not visible from here");
    }

    /// <summary>The first ring of a driver runs.</summary>
    private void AnnounceDriver(Vring ring)
    {
        if (!IsAnnounced) return;
        int retaken = _inflight is null || ring.UsedBase is not { } used ? 0
            : IsPacked ? (PackedPosition.FromBits(ring.AvailBase).Index - PackedPosition.FromBits(used).Index + ring.Size) % ring.Size
            : (ushort)(ring.AvailBase - used);
        string goesOn = retaken == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $", goes on with {retaken} requests in flight");
        _backend.Announce(DeviceEvents.DriverStarted,
            $"a driver runs{goesOn}: {(IsPacked ? "packed" : "split")} rings of {ring.Size} entries; "
            + string.Join(", ", FeatureNames.Of(_device.Type, DriverFeatures)));
    }

    /// <summary>
    /// A ring has its kick: says after a while, if there is no memory, what QEMU does not. Its guest waits in its probe without a word.
    /// </summary>
    private void WatchForMemory()
    {
        if (!IsAnnounced || _memory.Regions.Count > 0) return;
        _memoryWatch ??= ReactorTimers.Of(_reactor).Create((_, _) =>
        {
            if (_memory.Regions.Count > 0) return;
            _backend.Announce(default, $"the driver has been ready for {MemoryPatience.TotalSeconds} s, and the front-end has shared "
                + "no memory: does the guest's memory have share=on?");
        }, $"{_device.Name}/memory");
        _memoryWatch.Arm(MemoryPatience);
    }

    private void AnnounceEnd()
    {
        if (_memoryWatch is { IsArmed: true } watch) watch.Cancel();
        if (IsAnnounced && _complaint is null)
            _backend.Announce(DeviceEvents.FrontEndLeft, $"the front-end left after {(Environment.TickCount64 - _since) / 1000} s");
    }

    private static string NameOf(int process)
    {
        try
        {
            using SafeFileHandle file = File.OpenHandle($"/proc/{process}/comm");
            Span<byte> name = stackalloc byte[NameBytesMax];
            name = name[..RandomAccess.Read(file, name, fileOffset: 0)];
            // A process names itself: nothing of it goes to a terminal raw.
            foreach (ref byte letter in name) if (letter is <= (byte)' ' or >= 0x7f) letter = (byte)' ';
            return $" ({Encoding.ASCII.GetString(name).Trim()})";
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            // It is gone, or /proc does not show it.
            return "";
        }
    }
}
