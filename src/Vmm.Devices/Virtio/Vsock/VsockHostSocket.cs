using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>The host's end of a connection, one after the other.</summary>
internal sealed class VsockHostSocket(VsockDevice device, VsockConnection connection)
{
    private Watch? _watch;

    /// <summary>The socket at hand; null if there is none.</summary>
    internal UnixSocket? Socket => _watch?.Fd;

    /// <summary>Takes a connected socket over.</summary>
    /// <returns>False if the host has no room to watch it: then it is closed.</returns>
    internal bool TryTake(UnixSocket socket)
    {
        Watch watch = new(connection, socket);
        try
        {
            device.Reactor.Add(watch);
            _watch = watch;
            return true;
        }
        catch (KernelException refused)
        {
            socket.Dispose();
            device.ReportHost(refused.Errno, "cannot watch a connection");
            return false;
        }
    }

    /// <summary>Asks for an event when there is room; it may be there already.</summary>
    internal void AwaitRoom()
    {
        if (!_watch!.Interest.IsWritable) device.Reactor.Modify(_watch, Watch.Idle.AndWritable);
    }

    internal void Close()
    {
        if (_watch is not null) device.Reactor.Remove(_watch);
        _watch = null;
    }

    /// <summary>
    /// Edge-triggered, so that neither a guest without buffers nor a host that does not read makes the reactor spin; room to write is asked
    /// for only while something waits for it.
    /// </summary>
    private sealed class Watch(VsockConnection connection, UnixSocket socket) : Subscription<UnixSocket>(socket, Idle)
    {
        internal static readonly Interest Idle = Interest.Readable.AndReadHangUp.EdgeTriggered;

        public override string Name => "a vsock connection";

        protected override void Dispatch(Readiness ready, IReactor reactor)
        {
            // Room that was not waited for: the peer keeps up, and each read of its need not wake us.
            if (ready.IsWritable && !connection.Receiver.HasPending && Interest.IsWritable) reactor.Modify(this, Idle);
            connection.HostChanged(ready);
        }
    }
}
