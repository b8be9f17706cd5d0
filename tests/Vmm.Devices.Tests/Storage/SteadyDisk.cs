using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Asks what requests of a disk allocate on the reactor's thread, once it is warm.</summary>
internal static class SteadyDisk
{
    /// <summary>Reads and writes in turns, 32 at a time, until one run allocates nothing.</summary>
    internal static void AllocatesNothing(SimulatedGuest guest, int requests)
    {
        DriverQueue ring = guest.Queue(0).Ring;
        byte[] write = new byte[16];
        write[0] = 1;
        GuestBuffer status = guest.Queue(0).Place(new byte[1]), data = guest.Queue(0).Place(new byte[4096]);
        GuestBuffer[][] readable = [[guest.Queue(0).Place(new byte[16])], [guest.Queue(0).Place(write), data]];
        GuestBuffer[][] writable = [[data, status], [status]];
        SteadyState.AllocatesNothing(() => Run(requests));

        void Run(int count)
        {
            for (int done = 0; done < count;)
            {
                int left = 32;
                for (int i = 0; i < left; i++) ring.TryAdd(readable[i & 1], writable[i & 1], out _);
                ring.Publish();
                guest.Kick(0);
                while (left > 0)
                {
                    guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(20));
                    for (; ring.TryCollect(out _); left--) done++;
                    guest.Driver.TakeInterrupts();
                }
            }
        }
    }
}
