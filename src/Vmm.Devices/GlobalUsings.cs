// What most files of the library use.
global using System.Runtime.CompilerServices;
global using System.Runtime.InteropServices;
global using Vmm.Devices.Native;
global using Vmm.Events;
